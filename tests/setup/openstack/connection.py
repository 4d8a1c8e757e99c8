"""connection.py: a project of the cloud, as openstacksdk sees it."""
import os

import openstack


def connect(user, password):
    return openstack.connect(
        auth={
            "auth_url": os.environ["OS_AUTH_URL"],
            "username": user,
            "password": password,
            "project_name": os.environ["OS_PROJECT_NAME"],
            "user_domain_id": os.environ["OS_USER_DOMAIN_ID"],
            "project_domain_id": os.environ["OS_PROJECT_DOMAIN_ID"],
        },
        region_name=os.environ["OS_REGION_NAME"],
        load_yaml_config=False,
        load_envvars=False,
    )


def user():
    return connect(os.environ["OS_USERNAME"], os.environ["OS_PASSWORD"])
