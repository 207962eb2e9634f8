"""AWS Lambda entry points, one a module, each with a `handler(event, context)`.

They run from the platform's own image (`python -m slipway.functions slipway.functions.<name>.handler`) and import
little: a cold start is part of what a caller waits for. Their environment is read in `environment` alone.
"""
