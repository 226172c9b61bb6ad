"""Django: a function behind decorators, a view class, and one of the REST framework's."""
import sys
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.http import HttpResponse

settings.configure(DEBUG=False, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
                   INSTALLED_APPS=["rest_framework"],
                   REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
                   MIDDLEWARE=["django.middleware.common.CommonMiddleware",
                               "django.middleware.csrf.CsrfViewMiddleware"])
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from django.views import View  # noqa: E402
from django.views.decorators.cache import never_cache  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from work import HEAVY, LIGHT, burn  # noqa: E402


@csrf_exempt
@never_cache
def heavy(request):
    burn(HEAVY)
    return HttpResponse("ok")


class Light(View):
    def get(self, request):
        burn(LIGHT)
        return HttpResponse("ok")


class Rest(APIView):
    def get(self, request):
        burn(HEAVY)
        return Response({"ok": True})


urlpatterns = [path("heavy", heavy), path("light", Light.as_view()), path("rest", Rest.as_view())]
make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
