"""Settings of a Django site without a database."""

ALLOWED_HOSTS = ["*"]
SECRET_KEY = "not a secret"
ROOT_URLCONF = "django_app"
USE_TZ = True
DEFAULT_CHARSET = "utf-8"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
]
FILE_UPLOAD_MAX_MEMORY_SIZE = 65536
