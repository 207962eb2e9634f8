"""What any process of the platform needs: settings, database, authentication, objects, telemetry, HTTP."""
