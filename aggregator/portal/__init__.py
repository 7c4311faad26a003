"""The pages that come with the service: rendered here, for a browser, in German and English."""
