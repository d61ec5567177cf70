"""A payment provider that takes no money: for the local stack and for tests, over real HTTP.

It speaks as the real ones do: an API that svc_payment calls, a page on which a person pays, and signed webhooks with
the provider's rule for trying again. Its clock can be turned forward, and its deliveries can be made to go wrong.
"""
