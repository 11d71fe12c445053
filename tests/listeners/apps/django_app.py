"""A Django site with the same pages as the Flask application."""

from __future__ import annotations

import hashlib
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_settings")

from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import path


def index(request):
    found = {"path": request.path, "query": request.GET.dict(), "url": request.build_absolute_uri()}
    return JsonResponse(found)


def form(request):
    return JsonResponse(request.POST.dict())


def upload(request):
    file = request.FILES["file"]
    data = b"".join(file.chunks())
    digest = hashlib.sha256(data).hexdigest()
    return JsonResponse({"name": file.name, "size": len(data), "sha256": digest, **request.POST.dict()})


def stream(request):
    lines = (f"line {number}\n" for number in range(1000))
    return StreamingHttpResponse(lines, content_type="text/plain; charset=utf-8")


def cookie(request):
    visits = request.session.get("visits", 0)
    request.session["visits"] = visits + 1
    answer = JsonResponse({"seen": request.COOKIES.get("first"), "visits": visits})
    answer.set_cookie("first", "caf\xe9")
    answer.set_cookie("second", "2", httponly=True)
    return answer


def away(request):
    return redirect("/?a=b+c")


def file(request):
    return FileResponse(open(__file__, "rb"), content_type="text/x-python")


def error(request):
    raise RuntimeError("from Django")


pages = {
    "": index, "form": form, "upload": upload, "stream": stream, "cookie": cookie, "redirect": away,
    "file": file, "error": error,
}  # fmt: skip
urlpatterns = [path(name, view) for name, view in pages.items()]
app = get_wsgi_application()
