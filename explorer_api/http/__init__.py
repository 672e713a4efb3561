"""HTTP around the handlers: access, limits, parameters, responses, problems, dispatch, the server."""
