// In a file of its own, so that no page needs inline scripts. No validator: it is somebody else's server.
SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
