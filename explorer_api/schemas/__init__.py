"""The types of the JSON responses, and how they are made from stored documents."""
