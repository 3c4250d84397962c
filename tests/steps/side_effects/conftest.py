from object_stores import s3_port  # noqa: F401
