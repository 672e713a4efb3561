"""The handlers of requests: a module for each resource of the API."""
