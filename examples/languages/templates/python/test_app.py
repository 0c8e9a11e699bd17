"""`PYTHONPATH=sdk python3 -m unittest`, of Python 3.11 or newer: the filter's class, without a router."""

import unittest

from trommel_testing import event, router

from app import MyFilter
from trommel import Failure, edit


class LargeOrders(unittest.TestCase):
    def test_large_orders_pass_and_are_marked(self):
        route = MyFilter({"min": "200"}, "key")
        self.assertTrue(route.matches(event({"amount": 250})))
        self.assertFalse(route.matches(event({"amount": 120})))
        self.assertEqual(route.process(event({"amount": 250})), edit.set("/large", True))
        self.assertEqual(router.lines[-1][1], "a large order")

    def test_params_that_mean_nothing_are_refused(self):
        with self.assertRaisesRegex(Failure, "`min` is no number"):
            MyFilter({"min": "many"}, "key")
