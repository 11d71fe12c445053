"""A Flask application with what people use."""

from __future__ import annotations

import hashlib

from flask import Flask, Response, make_response, redirect, request, send_file, session, url_for

app = Flask(__name__)
app.secret_key = "not a secret"


@app.get("/")
def index():
    return {"path": request.path, "query": request.args.to_dict(), "url": request.url}


@app.post("/form")
def form():
    return dict(request.form)


@app.post("/upload")
def upload():
    data = request.files["file"].read()
    digest = hashlib.sha256(data).hexdigest()
    return {"name": request.files["file"].filename, "size": len(data), "sha256": digest, **request.form}


@app.get("/stream")
def stream():
    return Response((f"line {number}\n" for number in range(1000)), mimetype="text/plain")


@app.get("/cookie")
def cookie():
    answer = make_response({"seen": request.cookies.get("first"), "visits": session.get("visits", 0)})
    session["visits"] = session.get("visits", 0) + 1
    answer.set_cookie("first", "caf\xe9")
    answer.set_cookie("second", "2", httponly=True)
    return answer


@app.get("/redirect")
def away():
    return redirect(url_for("index", a="b c"))


@app.get("/file")
def file():
    return send_file(__file__, mimetype="text/x-python")


@app.get("/error")
def error():
    raise RuntimeError("from Flask")
