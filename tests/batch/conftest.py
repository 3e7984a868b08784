from browser import browser as browser  # a fixture, for the tests here
