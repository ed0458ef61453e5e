"""The Celery application of the kombu suite: its worker runs as a process of its own."""
import os

from celery import Celery

application = Celery("ringmq_client_tests", broker=os.environ["AMQP_URL"], backend="rpc://")
application.conf.task_default_queue = os.environ["CELERY_QUEUE"]
application.conf.task_acks_late = True
application.conf.worker_prefetch_multiplier = 1
application.conf.broker_connection_retry_on_startup = True


@application.task
def add(x, y):
    """Adds."""
    return x + y


@application.task(bind=True, max_retries=1)
def fail_once(self):
    """Fails the first time, so that Celery publishes it again with a countdown."""
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)
    return "second try"
