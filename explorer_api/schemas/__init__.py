"""The types of the API's response bodies, and how they are made from stored documents."""
