"""Times as the engine reads them."""
import datetime


def as_text(value):
    """A datetime (naive: UTC) or date as text; anything else is a TypeError."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return value.isoformat(" ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError("as_of must be text, a number or a datetime, not %s" % type(value).__name__)
