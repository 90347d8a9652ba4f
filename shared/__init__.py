"""What the API and the worker share: settings, messages, the corpus, the cache."""
