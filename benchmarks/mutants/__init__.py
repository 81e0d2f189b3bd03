"""Would the tests notice? Random small changes of a room's code, each killed by a test or not."""
