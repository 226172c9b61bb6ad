"""Airflow's operators, executed as its task runner does, without a scheduler and its database."""
import logging

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import BaseOperator

from work import HEAVY, LIGHT, burn

logging.disable(logging.WARNING)  # outside of a task runner, each execution warns


def heavy():
    burn(HEAVY)


class Light(BaseOperator):
    def execute(self, context):
        burn(LIGHT)


operators = [PythonOperator(task_id="heavy", python_callable=heavy), Light(task_id="light")]
while True:
    for operator in operators:
        operator.execute({})
