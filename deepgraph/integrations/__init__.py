"""Callbacks for other libraries' training loops; each is imported on use and asks for its library then."""
