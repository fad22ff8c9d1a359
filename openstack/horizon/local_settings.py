"""Read by openstack_dashboard.settings; entrypoint.sh has checked the variables."""

import os

DEBUG = False
# The health check calls by address.
ALLOWED_HOSTS = [*os.environ["HORIZON_HOSTS"].split(), "127.0.0.1"]
SECRET_KEY = os.environ["HORIZON_SECRET_KEY"]

WEBROOT = "/"
# The package has compressed the static files.
STATIC_ROOT = "/var/lib/openstack-dashboard/static/"
COMPRESS_OFFLINE = True

SESSION_ENGINE = "django.contrib.sessions.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": os.environ["MEMCACHED_SERVERS"].split(","),
    }
}

OPENSTACK_KEYSTONE_URL = os.environ["KEYSTONE_URL"]
OPENSTACK_KEYSTONE_DEFAULT_REGION = os.environ["REGION"]
# A dashboard is a service like the others: it goes the way of the services, not that of the people.
OPENSTACK_ENDPOINT_TYPE = "internalURL"

TIME_ZONE = "UTC"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
