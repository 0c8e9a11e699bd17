"""Reads two fields and sets one."""

from trommel import define, edit


class Edit:
    def __init__(self, params, key):
        pass

    def matches(self, event):
        return event.get("/amount") >= 100

    def process(self, event):
        return edit.set("/rebate", event.get("/amount") / 100 if event.get("/customer/tier") == "silver" else 0)


Filter = define(
    Edit,
    name="edit",
    version="1.0.0",
    match_reads=["/amount"],
    process_reads=["/amount", "/customer/tier"],
)
