"""How gunicorn serves shop.py: two workers, each with a pool."""

bind = "0.0.0.0:8000"
workers = 2
worker_tmp_dir = "/dev/shm"
loglevel = "warning"


def post_worker_init(worker):
    import shop
    shop.open_shop()
