"""componentize-py looks for an exported resource in a module that is named after its interface."""

from trommel.define import Subscription as Subscription
