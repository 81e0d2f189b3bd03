"""Random calls, files and configurations, good and bad: none may end in anything but success or a documented error."""
