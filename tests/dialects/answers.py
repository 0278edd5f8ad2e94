"""
Answers in the shapes of real APIs, frameworks and proxies, and what a person reads in them.

The bodies are made up; the shapes are those of the documents named. Each was labelled by reading it, before
the code was asked. `None` in a set of messages or codes means that saying nothing is right, too.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from failwell import errors as e

INVALID, AUTH, MONEY = e.InvalidRequestError, e.AuthenticationError, e.PaymentRequiredError
DENIED, MISSING, CONFLICT, MISMATCH = (
    e.PermissionDeniedError, e.NotFoundError, e.ConflictError, e.IdempotencyMismatchError,
)  # fmt: skip
LARGE, RATE, QUOTA, SERVER, DOWN = (
    e.TooLargeError, e.RateLimitError, e.QuotaExceededError, e.ServerError, e.UnavailableError,
)  # fmt: skip


class Case(NamedTuple):
    """
    One answer and what it says.

    `cls` is the exact class, or several of which one is right; `message` and `code` likewise.
    """

    name: str
    status: int
    body: str
    headers: dict[str, str]
    cls: tuple[type, ...]
    message: tuple[str | None, ...]
    code: tuple[str | None, ...]
    fields: tuple[tuple[tuple[str | int, ...], str | None], ...]
    request_id: str | None
    wait: float | None


CASES: list[Case] = []


def case(
    name: str,
    status: int,
    body: Any,
    cls: Any,
    message: Any,
    code: Any = None,
    fields: Any = (),
    *,
    headers: dict[str, str] | None = None,
    request_id: str | None = None,
    wait: float | None = None,
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    CASES.append(
        Case(
            name, status, text, headers or {}, _several(cls), _several(message), _several(code),
            tuple((tuple(path), text) for path, text in fields), request_id, wait,
        )
    )  # fmt: skip


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


# --- One object with a message ------------------------------------------------------------------

case("digitalocean: id is the code", 404,
     {"id": "not_found", "message": "The droplet you asked for does not exist.", "request_id": "4d9d8375"},
     MISSING, "The droplet you asked for does not exist.", "not_found", request_id="4d9d8375")
case("matrix: errcode and a sentence under error", 403,
     {"errcode": "M_FORBIDDEN", "error": "You are not invited to this room."},
     DENIED, "You are not invited to this room.", "M_FORBIDDEN")
case("matrix: the wait in milliseconds", 429,
     {"errcode": "M_LIMIT_EXCEEDED", "error": "Too many requests", "retry_after_ms": 2500},
     RATE, "Too many requests", "M_LIMIT_EXCEEDED", wait=2.5)
case("mozilla: errno beside a code that repeats the status", 401,
     {"code": 401, "errno": 109, "error": "Unauthorized", "message": "The token was not recognised"},
     AUTH, "The token was not recognised", "109")
case("shopify: errors is a map of attributes", 422,
     {"errors": {"title": ["can't be blank"], "variants.0.price": ["must be positive"]}},
     INVALID, "can't be blank", None,
     [(["title"], "can't be blank"), (["variants", 0, "price"], "must be positive")])
case("shopify: errors is a word", 404, {"errors": "Not Found"}, MISSING, "Not Found")
case("zendesk: title and message under error", 400,
     {"error": {"title": "Invalid attribute", "message": "You passed an invalid value for the id attribute."}},
     INVALID, "You passed an invalid value for the id attribute.")
case("zendesk: details by field", 422,
     {"error": "RecordInvalid", "description": "Record validation errors",
      "details": {"email": [{"description": "Email: is not properly formatted", "error": "InvalidFormat"}]}},
     INVALID, "Record validation errors", "RecordInvalid", [(["email"], "Email: is not properly formatted")])
case("intercom: error.list with a request id", 401,
     {"type": "error.list", "request_id": "b3c8fs9", "errors": [{"code": "unauthorized", "message": "Access Token Invalid"}]},
     AUTH, "Access Token Invalid", "unauthorized", request_id="b3c8fs9")
case("notion: object error", 400,
     {"object": "error", "status": 400, "code": "validation_error", "message": "body.parent should be defined.",
      "request_id": "e3f1-22"},
     INVALID, "body.parent should be defined.", "validation_error", request_id="e3f1-22")
case("notion: conflict", 409,
     {"object": "error", "status": 409, "code": "conflict_error", "message": "A collision happened while saving."},
     CONFLICT, "A collision happened while saving.", "conflict_error")
case("vercel: error with code and message", 403,
     {"error": {"code": "forbidden", "message": "You do not have access to this team.", "invalidToken": True}},
     DENIED, "You do not have access to this team.", "forbidden")
case("netlify: code repeats the status", 422,
     {"code": 422, "message": "Domain is already in use"}, (INVALID,), "Domain is already in use")
case("fly: error is a sentence", 404, {"error": "machine not found: 17811953c92e18"}, MISSING,
     "machine not found: 17811953c92e18")
case("hetzner: details.fields with messages", 422,
     {"error": {"code": "invalid_input", "message": "invalid input in field 'name'",
                "details": {"fields": [{"name": "name", "messages": ["is too long", "has a bad character"]}]}}},
     INVALID, "invalid input in field 'name'", "invalid_input", [(["name"], "is too long")])
case("pagerduty: errors are sentences", 400,
     {"error": {"message": "Invalid Input Provided", "code": 2001, "errors": ["Description can't be blank."]}},
     INVALID, "Invalid Input Provided", "2001")
case("okta: errorSummary, errorId, errorCauses", 400,
     {"errorCode": "E0000001", "errorSummary": "Api validation failed: login", "errorLink": "E0000001",
      "errorId": "oaeHfmOAx1iRLa0H10DeMz5fQ", "errorCauses": [{"errorSummary": "login: An object with this field already exists"}]},
     INVALID, "Api validation failed: login", "E0000001", request_id="oaeHfmOAx1iRLa0H10DeMz5fQ")
case("auth0: statusCode, error, message, errorCode", 404,
     {"statusCode": 404, "error": "Not Found", "message": "The user does not exist.", "errorCode": "inexistent_user"},
     MISSING, "The user does not exist.", "inexistent_user")
case("keycloak: errorMessage alone", 409, {"errorMessage": "User exists with same username"}, CONFLICT,
     "User exists with same username")
case("elasticsearch: root cause in a tree", 404,
     {"error": {"root_cause": [{"type": "index_not_found_exception", "reason": "no such index [shop]", "index": "shop"}],
                "type": "index_not_found_exception", "reason": "no such index [shop]"}, "status": 404},
     MISSING, "no such index [shop]", "index_not_found_exception")
case("couchdb: error and reason", 409, {"error": "conflict", "reason": "Document update conflict."},
     CONFLICT, "Document update conflict.", "conflict")
case("influxdb: code and message", 401, {"code": "unauthorized", "message": "unauthorized access"}, AUTH,
     "unauthorized access", "unauthorized")
case("vault: errors is a list of sentences", 403, {"errors": ["1 error occurred: permission denied"]}, DENIED,
     "1 error occurred: permission denied")
case("consul: plain text", 403, "rpc error making call: Permission denied", DENIED,
     "rpc error making call: Permission denied", headers={"content-type": "text/plain; charset=utf-8"})
case("kubernetes: status with causes", 422,
     {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
      "message": 'Pod "web" is invalid: spec.containers[0].image: Required value', "reason": "Invalid",
      "details": {"name": "web", "kind": "Pod", "causes": [
          {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers[0].image"}]},
      "code": 422},
     INVALID, 'Pod "web" is invalid: spec.containers[0].image: Required value', "Invalid",
     [(["spec", "containers", 0, "image"], "Required value")])
case("kubernetes: too many requests tells the wait", 429,
     {"kind": "Status", "status": "Failure", "message": "Too many requests, please try again later.",
      "reason": "TooManyRequests", "details": {"retryAfterSeconds": 5}, "code": 429},
     RATE, "Too many requests, please try again later.", "TooManyRequests", wait=5.0)
case("docker registry: errors with detail objects", 401,
     {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required", "detail": [{"Type": "repository", "Name": "a/b"}]}]},
     AUTH, "authentication required", "UNAUTHORIZED")
case("docker engine: message alone", 404, {"message": "No such container: web"}, MISSING, "No such container: web")
case("gitea: message with a documentation link", 404,
     {"message": "user redirect does not exist [name: nobody]", "url": "https://try.gitea.io/api/swagger"},
     MISSING, "user redirect does not exist [name: nobody]")
case("bitbucket: type error around an error", 404,
     {"type": "error", "error": {"message": "Repository team/x not found", "detail": "There is no such repository."}},
     MISSING, ("There is no such repository.", "Repository team/x not found"))
case("npm registry: error is a sentence", 404, {"error": "package not found"}, MISSING, "package not found")
case("plaid: error_message, error_code, display_message", 400,
     {"display_message": None, "error_code": "INVALID_ACCESS_TOKEN", "error_message": "could not find matching access token",
      "error_type": "INVALID_INPUT", "request_id": "HNTDNrA8F1shFEW"},
     (INVALID, AUTH), "could not find matching access token", "INVALID_ACCESS_TOKEN", request_id="HNTDNrA8F1shFEW")
case("square: category, code, detail, field", 400,
     {"errors": [{"category": "INVALID_REQUEST_ERROR", "code": "MISSING_REQUIRED_PARAMETER",
                  "detail": "Missing required parameter.", "field": "idempotency_key"}]},
     INVALID, "Missing required parameter.", "MISSING_REQUIRED_PARAMETER", [(["idempotency_key"], "Missing required parameter.")])
case("square: key used again", 400,
     {"errors": [{"category": "INVALID_REQUEST_ERROR", "code": "IDEMPOTENCY_KEY_REUSED",
                  "detail": "Different request parameters used for the same idempotency_key: 7f."}]},
     MISMATCH, "Different request parameters used for the same idempotency_key: 7f.", "IDEMPOTENCY_KEY_REUSED")
case("square: card declined with a 402", 402,
     {"errors": [{"category": "PAYMENT_METHOD_ERROR", "code": "CARD_DECLINED", "detail": "Card declined."}]},
     MONEY, "Card declined.", "CARD_DECLINED")
case("adyen: pspReference", 422,
     {"status": 422, "errorCode": "130", "message": "Reference Missing", "errorType": "validation", "pspReference": "8836"},
     INVALID, "Reference Missing", "130")
case("mollie: title, detail, field", 422,
     {"status": 422, "title": "Unprocessable Entity", "detail": "The amount is higher than the maximum", "field": "amount",
      "_links": {"documentation": {"href": "https://docs.example/errors", "type": "text/html"}}},
     INVALID, "The amount is higher than the maximum", None, [(["amount"], "The amount is higher than the maximum")])
case("wise: errors with path and arguments", 422,
     {"timestamp": "2026-02-01T00:00:00Z", "errors": [{"code": "NOT_VALID", "message": "Value is not valid", "path": "targetAmount", "arguments": ["targetAmount"]}]},
     INVALID, "Value is not valid", "NOT_VALID", [(["targetAmount"], "Value is not valid")])
case("coinbase: errors with id", 404, {"errors": [{"id": "not_found", "message": "Not found"}]}, MISSING,
     "Not found", "not_found")
case("binance: negative code and msg", 400, {"code": -1121, "msg": "Invalid symbol."}, INVALID, "Invalid symbol.", "-1121")
case("binance: banned for too many requests", 418,
     {"code": -1003, "msg": "Way too many requests; IP banned until 1600000000000."},
     (INVALID, RATE), "Way too many requests; IP banned until 1600000000000.", "-1003")
case("alpaca: code of eight digits", 403, {"code": 40310000, "message": "insufficient buying power"}, DENIED,
     "insufficient buying power", "40310000")
case("telegram: ok false with parameters.retry_after", 429,
     {"ok": False, "error_code": 429, "description": "Too Many Requests: retry after 14", "parameters": {"retry_after": 14}},
     RATE, "Too Many Requests: retry after 14", None, wait=14.0)
case("telegram: chat not found", 400, {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"},
     INVALID, "Bad Request: chat not found")
case("line: details with property", 400,
     {"message": "The request body has 1 error(s)", "details": [{"message": "May not be empty", "property": "messages[0].text"}]},
     INVALID, "The request body has 1 error(s)", None, [(["messages", 0, "text"], "May not be empty")])
case("facebook graph: type, code, fbtrace_id", 400,
     {"error": {"message": "Unsupported get request.", "type": "GraphMethodException", "code": 100, "error_subcode": 33,
                "fbtrace_id": "AXGbTQdKqvYbW"}},
     INVALID, "Unsupported get request.", "100", request_id="AXGbTQdKqvYbW")
case("linkedin: serviceErrorCode", 401,
     {"serviceErrorCode": 65601, "message": "The token used in the request has been revoked", "status": 401},
     AUTH, "The token used in the request has been revoked", "65601")
case("spotify: status and message", 401, {"error": {"status": 401, "message": "The access token expired"}}, AUTH,
     "The access token expired")
case("twitch: error, status, message", 401, {"error": "Unauthorized", "status": 401, "message": "OAuth token is missing"},
     AUTH, "OAuth token is missing")
case("strava: resource, field, code", 400,
     {"message": "Bad Request", "errors": [{"resource": "Activity", "field": "type", "code": "invalid"}]},
     INVALID, "Bad Request", (None, "invalid"), [(["type"], None)])
case("mapbox: message alone", 401, {"message": "Not Authorized - Invalid Token"}, AUTH, "Not Authorized - Invalid Token")
case("openweather: cod is the status as text", 401,
     {"cod": 401, "message": "Invalid API key. Please see the documentation for more info."},
     AUTH, "Invalid API key. Please see the documentation for more info.")
case("nasa gateway: code under error", 403, {"error": {"code": "API_KEY_INVALID", "message": "An invalid api_key was supplied."}},
     DENIED, "An invalid api_key was supplied.", "API_KEY_INVALID")
case("mediawiki rest: messageTranslations", 404,
     {"messageTranslations": {"en": "The specified title (Nope) does not exist"}, "httpCode": 404, "httpReason": "Not Found",
      "errorKey": "rest-nonexistent-title"},
     MISSING, ("The specified title (Nope) does not exist", "Not Found"), "rest-nonexistent-title")
case("cohere: message alone", 400, {"message": "invalid request: message must be at least 1 token long."}, INVALID,
     "invalid request: message must be at least 1 token long.")
case("mistral: object error with a validation list", 422,
     {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "foo"], "msg": "Extra inputs are not permitted"}]},
      "type": "invalid_request_error", "param": None, "code": None},
     INVALID, "Extra inputs are not permitted", ("invalid_request_error", None), [(["body", "foo"], "Extra inputs are not permitted")])
case("hugging face: error is a sentence and a time", 503,
     {"error": "Model bigscience/bloom is currently loading", "estimated_time": 20.0}, DOWN,
     "Model bigscience/bloom is currently loading")
case("elevenlabs: detail.status", 401,
     {"detail": {"status": "invalid_api_key", "message": "Invalid API key"}}, AUTH, "Invalid API key", "invalid_api_key")
case("elevenlabs: quota", 401, {"detail": {"status": "quota_exceeded", "message": "This request exceeds your quota."}},
     (AUTH, QUOTA), "This request exceeds your quota.", "quota_exceeded")
case("deepgram: err_code and err_msg", 400,
     {"err_code": "Bad Request", "err_msg": "Bad Request: failed to process audio: corrupt data", "request_id": "ea3f"},
     INVALID, "Bad Request: failed to process audio: corrupt data", (None, "Bad Request"), request_id="ea3f")
case("pinecone: status inside error", 400,
     {"error": {"code": "INVALID_ARGUMENT", "message": "Vector dimension 2 does not match"}, "status": 400},
     INVALID, "Vector dimension 2 does not match", "INVALID_ARGUMENT")
case("weaviate: error is a list of messages", 422, {"error": [{"message": "invalid object: no such class"}]}, INVALID,
     "invalid object: no such class")
case("qdrant: status.error", 404, {"status": {"error": "Not found: Collection `x` doesn't exist!"}, "time": 1.2e-05},
     MISSING, "Not found: Collection `x` doesn't exist!")
case("supabase auth: error_code and msg", 422,
     {"code": 422, "error_code": "weak_password", "msg": "Password should be at least 6 characters."},
     INVALID, "Password should be at least 6 characters.", "weak_password")
case("supabase storage: statusCode as text", 400,
     {"statusCode": "404", "error": "not_found", "message": "Object not found"}, (INVALID, MISSING), "Object not found", "not_found")
case("hasura: extensions and path of the input", 200,
     {"errors": [{"message": "field \"x\" not found in type: 'query_root'", "extensions": {"path": "$.selectionSet.x", "code": "validation-failed"}}]},
     INVALID, "field \"x\" not found in type: 'query_root'", "validation-failed")
case("firebase auth: message is the code", 400,
     {"error": {"code": 400, "message": "EMAIL_EXISTS", "errors": [{"message": "EMAIL_EXISTS", "domain": "global", "reason": "invalid"}]}},
     INVALID, "EMAIL_EXISTS", ("invalid", "EMAIL_EXISTS", None))
case("firebase database: error is a sentence", 401, {"error": "Permission denied"}, AUTH, "Permission denied")
case("google maps: error_message with a 200", 200,
     {"error_message": "The provided API key is invalid.", "results": [], "status": "REQUEST_DENIED"},
     (DENIED, e.APIError, AUTH), "The provided API key is invalid.", "REQUEST_DENIED")
case("youtube: markup in the message", 403,
     {"error": {"code": 403, "message": "You have exceeded your <a href=\"/q\">quota</a>.",
                "errors": [{"message": "You have exceeded your <a href=\"/q\">quota</a>.", "domain": "youtube.quota", "reason": "quotaExceeded"}]}},
     QUOTA, ("You have exceeded your <a href=\"/q\">quota</a>.", "You have exceeded your quota."), "quotaExceeded")
case("google: daily limit", 403,
     {"error": {"errors": [{"domain": "usageLimits", "reason": "dailyLimitExceeded", "message": "Daily Limit Exceeded"}],
                "code": 403, "message": "Daily Limit Exceeded"}},
     QUOTA, "Daily Limit Exceeded", "dailyLimitExceeded")
case("google: field violations and retry info", 429,
     {"error": {"code": 429, "message": "Quota exceeded for requests per minute.", "status": "RESOURCE_EXHAUSTED",
                "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13.5s"},
                            {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "r-9"}]}},
     (RATE, QUOTA), "Quota exceeded for requests per minute.", "RESOURCE_EXHAUSTED", request_id="r-9", wait=13.5)
case("google: bad request details", 400,
     {"error": {"code": 400, "message": "Request contains an invalid argument.", "status": "INVALID_ARGUMENT",
                "details": [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [
                    {"field": "spec.items[2].name", "description": "Must not be empty"}]}]}},
     INVALID, "Request contains an invalid argument.", "INVALID_ARGUMENT", [(["spec", "items", 2, "name"], "Must not be empty")])
case("grpc-gateway: details at the top", 400,
     {"code": 3, "message": "invalid user", "details": [{"@type": "type.googleapis.com/google.rpc.BadRequest",
                                                          "fieldViolations": [{"field": "email", "description": "is not an address"}]}]},
     INVALID, "invalid user", "3", [(["email"], "is not an address")])

# --- Frameworks ---------------------------------------------------------------------------------

case("express: http-errors as json", 404, {"error": {"message": "Cannot find that", "status": 404}}, MISSING, "Cannot find that")
case("nestjs: several messages", 400,
     {"statusCode": 400, "message": ["email must be an email", "name should not be empty"], "error": "Bad Request"},
     INVALID, "email must be an email")
case("symfony api platform: violations", 422,
     {"@context": "/api/contexts/ConstraintViolationList", "@type": "ConstraintViolationList",
      "hydra:title": "An error occurred", "hydra:description": "title: This value should not be blank.",
      "violations": [{"propertyPath": "title", "message": "This value should not be blank.", "code": "c1051bb4"}]},
     INVALID, "title: This value should not be blank.", (None, "ConstraintViolationList"),
     [(["title"], "This value should not be blank.")], headers={"content-type": "application/ld+json"})
case("symfony: problem with violations", 422,
     {"type": "https://symfony.com/errors/validation", "title": "Validation Failed", "status": 422,
      "detail": "email: This value is not a valid email address.",
      "violations": [{"propertyPath": "email", "title": "This value is not a valid email address.", "type": "urn:uuid:bd79"}]},
     INVALID, "email: This value is not a valid email address.", "https://symfony.com/errors/validation",
     [(["email"], "This value is not a valid email address.")], headers={"content-type": "application/problem+json"})
case("asp.net: problem with json path", 400,
     {"type": "https://tools.ietf.org/html/rfc9110#section-15.5.1", "title": "One or more validation errors occurred.",
      "status": 400, "errors": {"$.count": ["The JSON value could not be converted to System.Int32."], "Items[1].Sku": ["The Sku field is required."]},
      "traceId": "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4-00"},
     INVALID, "One or more validation errors occurred.", None,
     [(["count"], "The JSON value could not be converted to System.Int32."), (["Items", 1, "Sku"], "The Sku field is required.")],
     headers={"content-type": "application/problem+json"}, request_id="00-84c1fd4063c38d9f3900d06e56542d48-85d1d4-00")
case("asp.net web api: ModelState", 400,
     {"Message": "The request is invalid.", "ModelState": {"product.Name": ["The Name field is required."]}},
     INVALID, "The request is invalid.", None, [(["product", "Name"], "The Name field is required.")])
case("asp.net web api: exception", 500,
     {"Message": "An error has occurred.", "ExceptionMessage": "Object reference not set.", "ExceptionType": "System.NullReferenceException", "StackTrace": "at X"},
     SERVER, ("Object reference not set.", "An error has occurred."), (None, "System.NullReferenceException"))
case("spring: validation errors", 400,
     {"timestamp": "2026-03-01T09:00:00.000+00:00", "status": 400, "error": "Bad Request",
      "message": "Validation failed for object='order'. Error count: 1",
      "errors": [{"codes": ["NotNull.order.sku"], "defaultMessage": "must not be null", "objectName": "order", "field": "sku",
                  "rejectedValue": None, "bindingFailure": False, "code": "NotNull"}], "path": "/orders"},
     INVALID, "Validation failed for object='order'. Error count: 1", (None, "NotNull"), [(["sku"], "must not be null")])
case("quarkus: violations", 400,
     {"title": "Constraint Violation", "status": 400, "violations": [{"field": "create.user.name", "message": "must not be blank"}]},
     INVALID, "Constraint Violation", None, [(["create", "user", "name"], "must not be blank")])
case("micronaut: _embedded errors", 400,
     {"message": "Bad Request", "_embedded": {"errors": [{"message": "order.sku: must not be null", "path": "/order"}]}},
     INVALID, ("order.sku: must not be null", "Bad Request"))
case("gin: error text of a validator", 400,
     {"error": "Key: 'Login.User' Error:Field validation for 'User' failed on the 'required' tag"},
     INVALID, "Key: 'Login.User' Error:Field validation for 'User' failed on the 'required' tag")
case("echo: message alone", 404, {"message": "Not Found"}, MISSING, "Not Found")
case("fiber: plain text", 404, "Cannot GET /nope", MISSING, "Cannot GET /nope", headers={"content-type": "text/plain; charset=utf-8"})
case("go net/http: plain text", 404, "404 page not found\n", MISSING, "404 page not found", headers={"content-type": "text/plain; charset=utf-8"})
case("phoenix: errors.detail", 404, {"errors": {"detail": "Not Found"}}, MISSING, "Not Found")
case("phoenix: changeset errors", 422, {"errors": {"email": ["has already been taken"], "address": {"zip": ["is invalid"]}}},
     INVALID, "has already been taken", None, [(["email"], "has already been taken"), (["address", "zip"], "is invalid")])
case("rails: full messages", 422, {"errors": ["Name can't be blank", "Age is not a number"]}, INVALID, "Name can't be blank")
case("rails: attributes at the top", 422, {"name": ["can't be blank"], "age": ["is not a number", "is too low"]}, INVALID,
     "can't be blank", None, [(["name"], "can't be blank"), (["age"], "is not a number"), (["age"], "is too low")])
case("drf: nested serializers", 400, {"lines": [{}, {"sku": ["This field is required."]}], "title": ["This field may not be blank."]},
     INVALID, "This field is required.", None,
     [(["lines", 1, "sku"], "This field is required."), (["title"], "This field may not be blank.")])
case("drf: simplejwt", 401,
     {"detail": "Given token not valid for any token type", "code": "token_not_valid",
      "messages": [{"token_class": "AccessToken", "token_type": "access", "message": "Token is invalid or expired"}]},
     AUTH, "Given token not valid for any token type", "token_not_valid")
case("django ninja: pydantic errors", 422,
     {"detail": [{"type": "missing", "loc": ["body", "item", "price"], "msg": "Field required"}]}, INVALID, "Field required", None,
     [(["body", "item", "price"], "Field required")])
case("marshmallow: messages by location", 422, {"messages": {"json": {"email": ["Not a valid email address."]}}}, INVALID,
     "Not a valid email address.", None, [(["json", "email"], "Not a valid email address.")])
case("flask-smorest: code, status, message, errors", 422,
     {"code": 422, "errors": {"json": {"age": ["Not a valid integer."]}}, "status": "Unprocessable Entity"}, INVALID,
     ("Not a valid integer.", "Unprocessable Entity"), None, [(["json", "age"], "Not a valid integer.")])
case("flask-restful: message is a map", 400, {"message": {"rate": "rate to charge is required"}}, INVALID,
     "rate to charge is required", None, [(["rate"], "rate to charge is required")])
case("pydantic: errors of a validator at the top", 422,
     [{"loc": ["a", 0], "msg": "none is not an allowed value", "type": "type_error.none.not_allowed"}], INVALID,
     "none is not an allowed value", (None, "type_error.none.not_allowed"), [(["a", 0], "none is not an allowed value")])
case("zod: issues", 400,
     {"success": False, "error": {"issues": [{"code": "too_small", "minimum": 1, "path": ["items", 0, "qty"], "message": "Too small"}], "name": "ZodError"}},
     INVALID, "Too small", ("ZodError", "too_small"), [(["items", 0, "qty"], "Too small")])
case("zod: formatted tree", 400,
     {"error": {"_errors": [], "user": {"_errors": [], "name": {"_errors": ["Required"]}}}}, INVALID, "Required", None,
     [(["user", "name"], "Required")])
case("zod: flattened", 400, {"errors": {"formErrors": [], "fieldErrors": {"email": ["Invalid email"]}}}, INVALID, "Invalid email",
     None, [(["email"], "Invalid email")])
case("trpc: error with data", 404,
     {"error": {"message": "No such post", "code": -32004, "data": {"code": "NOT_FOUND", "httpStatus": 404, "path": "post.byId"}}},
     MISSING, "No such post", ("-32004", "NOT_FOUND"))
case("ajv: instancePath", 400,
     {"message": "validation failed", "errors": [{"instancePath": "/user/age", "schemaPath": "#/x", "keyword": "type", "params": {"type": "integer"}, "message": "must be integer"}]},
     INVALID, "validation failed", (None, "type"), [(["user", "age"], "must be integer")])
case("joi: details with path lists", 400,
     {"name": "ValidationError", "message": "\"age\" must be a number",
      "details": [{"message": "\"age\" must be a number", "path": ["user", "age"], "type": "number.base", "context": {"label": "age"}}]},
     INVALID, "\"age\" must be a number", "ValidationError", [(["user", "age"], "\"age\" must be a number")])
case("celebrate: validation by segment", 400,
     {"statusCode": 400, "error": "Bad Request", "message": "Validation failed",
      "validation": {"body": {"source": "body", "keys": ["email"], "message": "\"email\" is required"}}},
     INVALID, "Validation failed", None, [(["body", "email"], "\"email\" is required")])
case("express-validator: path and msg", 400,
     {"errors": [{"type": "field", "value": "x", "msg": "Invalid value", "path": "email", "location": "body"}]}, INVALID,
     "Invalid value", None, [(["email"], "Invalid value")])
case("express-validator 6: param and msg", 422,
     {"errors": [{"value": "x", "msg": "must be at least 5 chars long", "param": "password", "location": "body"}]}, INVALID,
     "must be at least 5 chars long", None, [(["password"], "must be at least 5 chars long")])
case("feathers: name, className", 404,
     {"name": "NotFound", "message": "No record found for id '7'", "code": 404, "className": "not-found", "errors": {}},
     MISSING, "No record found for id '7'", "NotFound")
case("loopback: nested details", 422,
     {"error": {"statusCode": 422, "name": "UnprocessableEntityError", "message": "The request body is invalid.", "code": "VALIDATION_FAILED",
                "details": [{"path": "/title", "code": "required", "message": "must have required property 'title'", "info": {}}]}},
     INVALID, "The request body is invalid.", "VALIDATION_FAILED", [(["title"], "must have required property 'title'")])
case("servicestack: ResponseStatus", 400,
     {"ResponseStatus": {"ErrorCode": "NotEmpty", "Message": "'Name' must not be empty.",
                         "Errors": [{"ErrorCode": "NotEmpty", "FieldName": "Name", "Message": "'Name' must not be empty."}]}},
     INVALID, "'Name' must not be empty.", "NotEmpty", [(["Name"], "'Name' must not be empty.")])
case("strapi: error.details.errors with path lists", 400,
     {"data": None, "error": {"status": 400, "name": "ValidationError", "message": "title must be defined.",
                              "details": {"errors": [{"path": ["title"], "message": "title must be defined.", "name": "ValidationError"}]}}},
     INVALID, "title must be defined.", "ValidationError", [(["title"], "title must be defined.")])
case("directus: extensions in errors", 403,
     {"errors": [{"message": "You don't have permission to access this.", "extensions": {"code": "FORBIDDEN"}}]}, DENIED,
     "You don't have permission to access this.", "FORBIDDEN")
case("graphql: throttled inside a 200", 200,
     {"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}], "data": None}, RATE, "Throttled", "THROTTLED")
case("graphql: unauthenticated inside a 200", 200,
     {"errors": [{"message": "You must be logged in", "path": ["me"], "extensions": {"code": "UNAUTHENTICATED"}}], "data": {"me": None}},
     AUTH, "You must be logged in", "UNAUTHENTICATED")

# --- Standards ----------------------------------------------------------------------------------

case("json:api: parameter and code", 400,
     {"errors": [{"status": "400", "code": "1002", "title": "Invalid Query Parameter", "detail": "The resource does not have an `auther` path.",
                  "source": {"parameter": "include"}}]},
     INVALID, "The resource does not have an `auther` path.", "1002", [(["include"], "The resource does not have an `auther` path.")],
     headers={"content-type": "application/vnd.api+json"})
case("problem: slug as type and invalid-params", 400,
     {"type": "https://example.net/probs/invalid", "title": "Your request parameters didn't validate.",
      "invalid-params": [{"name": "age", "reason": "must be a positive integer"}]},
     INVALID, "Your request parameters didn't validate.", "https://example.net/probs/invalid", [(["age"], "must be a positive integer")],
     headers={"content-type": "application/problem+json"})
case("problem: about:blank", 404, {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "No order 17."}, MISSING,
     "No order 17.", headers={"content-type": "application/problem+json"})
case("problem in xml", 403,
     '<?xml version="1.0"?><problem xmlns="urn:ietf:rfc:7807"><type>https://example.com/probs/out-of-credit</type>'
     "<title>You do not have enough credit.</title><detail>Your balance is 30.</detail></problem>",
     (DENIED, QUOTA, MONEY), "Your balance is 30.", "https://example.com/probs/out-of-credit", headers={"content-type": "application/problem+xml"})
case("oauth: invalid client", 401, {"error": "invalid_client", "error_description": "Client authentication failed"}, AUTH,
     "Client authentication failed", "invalid_client")
case("oauth as a form", 400, "error=invalid_grant&error_description=The+code+has+expired", AUTH, "The code has expired",
     "invalid_grant", headers={"content-type": "application/x-www-form-urlencoded"})
case("bearer challenge with an empty body", 401, "", AUTH, (None, "The access token expired"), ("invalid_token", None),
     headers={"www-authenticate": 'Bearer realm="x", error="invalid_token", error_description="The access token expired"'})
case("json-rpc: method not found", 200, {"jsonrpc": "2.0", "id": "1", "error": {"code": -32601, "message": "Method not found"}},
     MISSING, "Method not found", "-32601")
case("odata v2: message is an object", 400,
     {"error": {"code": "BAD/007", "message": {"lang": "en", "value": "Property 'Foo' is unknown"}, "innererror": {"transactionid": "5E2A"}}},
     INVALID, "Property 'Foo' is unknown", "BAD/007", request_id="5E2A")
case("azure: target and details", 400,
     {"error": {"code": "InvalidTemplate", "message": "Deployment template validation failed.", "target": "properties.template",
                "details": [{"code": "Missing", "target": "resources[0].name", "message": "Name is missing."}]}},
     INVALID, "Deployment template validation failed.", "InvalidTemplate", [(["resources", 0, "name"], "Name is missing.")],
     headers={"x-ms-request-id": "ms-1", "x-ms-correlation-request-id": "corr-1", "x-ms-routing-request-id": "WEST:route-1"},
     request_id="ms-1")
case("azure openai: the wait is in the sentence", 429,
     {"error": {"code": "429", "message": "Requests have exceeded the call rate limit. Please retry after 26 seconds."}}, RATE,
     "Requests have exceeded the call rate limit. Please retry after 26 seconds.", None, headers={"apim-request-id": "ap-1"},
     request_id="ap-1", wait=26.0)
case("soap 1.1: fault with detail", 500,
     '<?xml version="1.0"?><S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body><S:Fault>'
     "<faultcode>S:Client</faultcode><faultstring>Missing header</faultstring><detail><x/></detail></S:Fault></S:Body></S:Envelope>",
     SERVER, "Missing header", "S:Client")

# --- AWS and friends ----------------------------------------------------------------------------

case("aws json: throttling", 400,
     {"__type": "com.amazonaws.kinesis.v20131202#ProvisionedThroughputExceededException", "message": "Rate exceeded for shard shardId-0"},
     (RATE, INVALID), "Rate exceeded for shard shardId-0", "ProvisionedThroughputExceededException",
     headers={"x-amzn-requestid": "c5b4", "content-type": "application/x-amz-json-1.1"}, request_id="c5b4")
case("aws json: throttling exception", 400, {"__type": "ThrottlingException", "message": "Rate exceeded"}, RATE, "Rate exceeded",
     "ThrottlingException")
case("aws json: not found", 400, {"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", "message": "Requested resource not found"},
     MISSING, "Requested resource not found", "ResourceNotFoundException")
case("aws json: expired token", 400, {"__type": "ExpiredTokenException", "message": "The security token included in the request is expired"},
     AUTH, "The security token included in the request is expired", "ExpiredTokenException")
case("aws json: condition", 400, {"__type": "ConditionalCheckFailedException", "message": "The conditional request failed"}, CONFLICT,
     "The conditional request failed", "ConditionalCheckFailedException")
case("s3: error document", 404,
     '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>'
     "<Key>a/b.txt</Key><RequestId>4442587FB7D0A2F9</RequestId><HostId>x==</HostId></Error>",
     MISSING, "The specified key does not exist.", "NoSuchKey", headers={"content-type": "application/xml"}, request_id="4442587FB7D0A2F9")
case("s3: slow down", 503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message><RequestId>R1</RequestId></Error>",
     (DOWN, RATE), "Please reduce your request rate.", "SlowDown", request_id="R1")
case("aws query: error response", 403,
     '<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>AccessDenied</Code>'
     "<Message>User is not authorized to perform: iam:ListUsers</Message></Error><RequestId>7a62c49f</RequestId></ErrorResponse>",
     DENIED, "User is not authorized to perform: iam:ListUsers", "AccessDenied", headers={"content-type": "text/xml"}, request_id="7a62c49f")
case("azure storage: xml with a byte order mark", 404,
     '\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>BlobNotFound</Code><Message>The specified blob does not exist.\n'
     "RequestId:b1\nTime:2026-01-01T00:00:00Z</Message></Error>",
     MISSING, "The specified blob does not exist.\nRequestId:b1\nTime:2026-01-01T00:00:00Z", "BlobNotFound",
     headers={"x-ms-error-code": "BlobNotFound", "x-ms-request-id": "b1"}, request_id="b1")
case("flickr rest: attributes carry it", 200, '<?xml version="1.0"?><rsp stat="fail"><err code="1" msg="Photo not found" /></rsp>',
     (e.APIError, MISSING), "Photo not found", "1")
case("twilio: RestException", 404,
     "<?xml version='1.0' encoding='UTF-8'?><TwilioResponse><RestException><Code>20404</Code><Message>The requested resource was not found</Message>"
     "<MoreInfo>https://x</MoreInfo><Status>404</Status></RestException></TwilioResponse>",
     MISSING, "The requested resource was not found", "20404")
case("quickbooks: fault in json", 400,
     {"Fault": {"Error": [{"Message": "Required param missing, need to supply the required value for the API", "Detail": "Required parameter Line is missing in the request",
                           "code": "2020", "element": "Line"}], "type": "ValidationFault"}, "time": "2026-01-01T00:00:00Z"},
     INVALID, "Required parameter Line is missing in the request", "2020", [(["Line"], "Required parameter Line is missing in the request")])
case("salesforce: a list with errorCode and fields", 400,
     [{"message": "Required fields are missing: [LastName]", "errorCode": "REQUIRED_FIELD_MISSING", "fields": ["LastName"]}], INVALID,
     "Required fields are missing: [LastName]", "REQUIRED_FIELD_MISSING", [(["LastName"], "Required fields are missing: [LastName]")])
case("salesforce: request limit with a 403", 403, [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}],
     (RATE, QUOTA), "TotalRequests Limit exceeded.", "REQUEST_LIMIT_EXCEEDED")
case("dropbox: tagged union with a 409", 409,
     {"error_summary": "path/not_found/..", "error": {".tag": "path", "path": {".tag": "not_found"}}}, MISSING,
     ("path/not_found/..", "path/not_found"), ("path/not_found", "path/not_found/..", "path"))
case("jira: errorMessages and errors", 400, {"errorMessages": [], "errors": {"summary": "You must specify a summary of the issue."}}, INVALID,
     "You must specify a summary of the issue.", None, [(["summary"], "You must specify a summary of the issue.")])
case("jira: errorMessages alone", 404, {"errorMessages": ["Issue Does Not Exist"], "errors": {}}, MISSING, "Issue Does Not Exist")
case("asana: help and phrase beside the message", 400,
     {"errors": [{"message": "workspace: Missing input", "help": "For more information on errors see the docs.", "phrase": "6 sad squid snuggle softly"}]},
     INVALID, "workspace: Missing input")
case("box: context_info", 400,
     {"type": "error", "status": 400, "code": "bad_request", "context_info": {"errors": [{"reason": "invalid_parameter", "name": "limit", "message": "limit is not a number"}]},
      "help_url": "https://x", "message": "Bad Request", "request_id": "bx1"},
     INVALID, ("Bad Request", "limit is not a number"), "bad_request", [(["limit"], "limit is not a number")], request_id="bx1")
case("anthropic: error in an error", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_011"},
     DOWN, "Overloaded", "overloaded_error", request_id="req_011")
case("twitter 1: code 88", 429, {"errors": [{"code": 88, "message": "Rate limit exceeded"}]}, RATE, "Rate limit exceeded", "88",
     headers={"x-rate-limit-limit": "15", "x-rate-limit-remaining": "0", "x-rate-limit-reset": "1767226500", "date": "Thu, 01 Jan 2026 00:10:00 GMT"},
     wait=300.0)
case("twitter 2: parameters and a problem type", 400,
     {"errors": [{"parameters": {"id": ["x"]}, "message": "The `id` query parameter value [x] is not valid"}], "title": "Invalid Request",
      "detail": "One or more parameters to your request was invalid.", "type": "https://api.twitter.com/2/problems/invalid-request"},
     INVALID, "One or more parameters to your request was invalid.", "https://api.twitter.com/2/problems/invalid-request")

# --- Several forms of success that are none -----------------------------------------------------

case("wechat: errcode in a 200", 200, {"errcode": 40013, "errmsg": "invalid appid"}, e.APIError, "invalid appid", "40013")
case("success false in a 200", 200, {"success": False, "error": {"code": 101, "type": "missing_access_key", "info": "You have not supplied an API Access Key."}},
     (e.APIError, INVALID, AUTH), "You have not supplied an API Access Key.", ("101", "missing_access_key"))
case("kraken: error is a list in a 200", 200, {"error": ["EAPI:Rate limit exceeded"]}, (RATE, e.APIError), "EAPI:Rate limit exceeded",
     (None, "EAPI:Rate limit exceeded"))

# --- Proxies and pages --------------------------------------------------------------------------

case("apache: 404 page", 404,
     '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n<title>404 Not Found</title>\n</head><body>\n<h1>Not Found</h1>\n'
     "<p>The requested URL /x was not found on this server.</p>\n<hr>\n<address>Apache/2.4.41 (Ubuntu) Server at h Port 80</address>\n</body></html>",
     MISSING, "The requested URL /x was not found on this server.", headers={"content-type": "text/html; charset=iso-8859-1"})
case("nginx: bad gateway", 502, "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
     "<hr><center>nginx/1.18.0 (Ubuntu)</center>\r\n</body>\r\n</html>\r\n", DOWN, ("502 Bad Gateway", "Bad Gateway"),
     headers={"content-type": "text/html"})
case("load balancer: empty title", 503, "<html>\n<head><title>503 Service Temporarily Unavailable</title></head>\n<body>\n"
     "<center><h1>503 Service Temporarily Unavailable</h1></center>\n</body>\n</html>", DOWN, "503 Service Temporarily Unavailable")
case("cloudfront: request blocked", 403,
     '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN" "http://www.w3.org/TR/html4/loose.dtd">\n<HTML><HEAD><META HTTP-EQUIV="Content-Type">'
     "\n<TITLE>ERROR: The request could not be satisfied</TITLE>\n</HEAD><BODY>\n<H1>403 ERROR</H1>\n<H2>The request could not be satisfied.</H2>\n"
     '<HR noshade size="1px">\nRequest blocked.\nWe can\'t connect to the server for this app or website at this time.\n<BR clear="all">\n'
     '<HR noshade size="1px">\n<PRE>\nGenerated by cloudfront (CloudFront)\nRequest ID: 3cP_Nmv8xyz==\n</PRE>\n</BODY></HTML>',
     DENIED, ("The request could not be satisfied.", "Request blocked. We can't connect to the server for this app or website at this time.",
              "ERROR: The request could not be satisfied"),
     headers={"content-type": "text/html", "x-amz-cf-id": "cf-id-1"}, request_id="cf-id-1")
case("akamai: access denied", 403,
     "<HTML><HEAD>\n<TITLE>Access Denied</TITLE>\n</HEAD><BODY>\n<H1>Access Denied</H1>\n \nYou don't have permission to access &#34;http://api.example/v1&#34; on this server.<P>\n"
     "Reference&#32;&#35;18&#46;5d5e1cb8&#46;1589\n</BODY>\n</HTML>",
     DENIED, 'You don\'t have permission to access "http://api.example/v1" on this server.', request_id="18.5d5e1cb8.1589")
case("varnish: guru meditation", 503,
     "<!DOCTYPE html>\n<html>\n<head><title>503 Backend fetch failed</title></head>\n<body>\n<h1>Error 503 Backend fetch failed</h1>\n"
     "<p>Backend fetch failed</p>\n<h3>Guru Meditation:</h3>\n<p>XID: 1234567</p>\n<hr>\n<p>Varnish cache server</p>\n</body>\n</html>",
     DOWN, ("Backend fetch failed", "503 Backend fetch failed"))
case("haproxy: 429 page", 429, "<html><body><h1>429 Too Many Requests</h1>\nYou have sent too many requests in a given amount of time.\n</body></html>\n",
     RATE, "You have sent too many requests in a given amount of time.")
case("tomcat: status page", 404,
     "<!doctype html><html lang=\"en\"><head><title>HTTP Status 404 \u2013 Not Found</title><style type=\"text/css\">body {font-family:Tahoma;}</style></head>"
     "<body><h1>HTTP Status 404 \u2013 Not Found</h1><hr class=\"line\" /><p><b>Type</b> Status Report</p><p><b>Message</b> The requested resource [&#47;x] is not available</p>"
     "<p><b>Description</b> The origin server did not find a current representation.</p><hr class=\"line\" /><h3>Apache Tomcat/9.0.50</h3></body></html>",
     MISSING, ("The requested resource [/x] is not available", "The origin server did not find a current representation."))
case("jetty: table", 404,
     "<html>\n<head>\n<title>Error 404 Not Found</title>\n</head>\n<body><h2>HTTP ERROR 404 Not Found</h2>\n<table>\n<tr><th>URI:</th><td>/x</td></tr>\n"
     "<tr><th>STATUS:</th><td>404</td></tr>\n<tr><th>MESSAGE:</th><td>Not Found</td></tr>\n</table>\n</body>\n</html>",
     MISSING, ("HTTP ERROR 404 Not Found", "Not Found", "Error 404 Not Found"))
case("iis: http.sys", 400,
     '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN""http://www.w3.org/TR/html4/strict.dtd">\r\n<HTML><HEAD><TITLE>Bad Request</TITLE></HEAD>\r\n'
     "<BODY><h2>Bad Request - Invalid Hostname</h2>\r\n<hr><p>HTTP Error 400. The request hostname is invalid.</p>\r\n</BODY></HTML>",
     INVALID, ("HTTP Error 400. The request hostname is invalid.", "Bad Request - Invalid Hostname"))
case("google front end: that's an error", 502,
     "<html lang=en><meta charset=utf-8><title>Error 502 (Server Error)!!1</title><style>*{margin:0}</style><a href=//www.google.com/><span id=logo></span></a>"
     "<p><b>502.</b> <ins>That\u2019s an error.</ins><p>The server encountered a temporary error and could not complete your request.<p>Please try again in 30 seconds.",
     DOWN, ("502. That\u2019s an error.", "The server encountered a temporary error and could not complete your request.", "Error 502 (Server Error)!!1"))
case("cloudflare: rate limited as text", 429, "error code: 1015", RATE, "error code: 1015", ("1015", None), headers={"content-type": "text/plain", "cf-ray": "9a-SIN", "retry-after": "8"}, wait=8.0)
case("envoy: no healthy upstream", 503, "no healthy upstream", DOWN, "no healthy upstream", headers={"content-type": "text/plain", "server": "envoy"})
case("istio: rbac", 403, "RBAC: access denied", DENIED, "RBAC: access denied", headers={"server": "istio-envoy"})
case("traefik: bare status", 502, "Bad Gateway", DOWN, "Bad Gateway", headers={"content-type": "text/plain"})
case("kong: message and request_id", 401, {"message": "No API key found in request", "request_id": "f2c1a"}, AUTH, "No API key found in request", request_id="f2c1a")
case("apigee: fault with a detail", 401,
     {"fault": {"faultstring": "Invalid ApiKey", "detail": {"errorcode": "oauth.v2.InvalidApiKey"}}}, AUTH, "Invalid ApiKey", "oauth.v2.InvalidApiKey")
case("aws gateway: missing token", 403, {"message": "Missing Authentication Token"}, DENIED, "Missing Authentication Token",
     ("MissingAuthenticationTokenException",), headers={"x-amzn-requestid": "gw-1", "x-amz-apigw-id": "zz=", "x-amzn-errortype": "MissingAuthenticationTokenException"}, request_id="gw-1")
case("heroku: no response page", 503,
     "<!DOCTYPE html>\n<html>\n\t<head>\n\t\t<meta name=\"viewport\">\n\t\t<title>Application Error</title>\n\t</head>\n\t<body>\n\t\t<iframe src=\"//x/h12.html\"></iframe>\n\t</body>\n</html>",
     DOWN, "Application Error")
case("envoy gateway: json with a status", 504, {"status": "upstream request timeout"}, DOWN, (None, "upstream request timeout"))
case("squid: cut header line", 413, "Request body too large", LARGE, "Request body too large")

# --- Money, limits, keys ------------------------------------------------------------------------

case("card declined with a 400", 400, {"error": {"code": "card_declined", "message": "The card was declined."}}, MONEY, "The card was declined.", "card_declined")
case("deepseek: no balance", 402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "param": None, "code": "invalid_request_error"}}, MONEY,
     "Insufficient Balance", "invalid_request_error")
case("daily quota with a 429", 429, {"error": {"code": "daily_limit_exceeded", "message": "Daily limit of 1000 calls reached."}}, QUOTA,
     "Daily limit of 1000 calls reached.", "daily_limit_exceeded")
case("monthly quota in words", 429, {"message": "You have exceeded the MONTHLY quota for Requests on your current plan, BASIC."}, QUOTA,
     "You have exceeded the MONTHLY quota for Requests on your current plan, BASIC.")
case("github-like: 403 with nothing left", 403, {"message": "API rate limit exceeded for user ID 1."}, RATE, "API rate limit exceeded for user ID 1.",
     headers={"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1767226200", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, wait=600.0)
case("403 with calls left is no throttle", 403, {"message": "Resource not accessible by integration"}, DENIED, "Resource not accessible by integration",
     headers={"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999", "x-ratelimit-reset": "1767226200"})
case("key in flight", 409, {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": "There is currently another in-progress request using this Idempotent Key."}},
     CONFLICT, "There is currently another in-progress request using this Idempotent Key.", "idempotency_key_in_use")
case("key with another body", 409, {"detail": "Idempotency key already used with different request body"}, MISMATCH,
     "Idempotency key already used with different request body")
case("key is missing", 400, {"message": "Idempotency-Key header is required"}, INVALID, "Idempotency-Key header is required")
case("ietf limit", 429, {"title": "Slow down", "detail": "You may call again soon."}, RATE, "You may call again soon.",
     headers={"ratelimit": '"burst";r=0;t=7, "day";r=500;t=3600'}, wait=7.0)
case("iso date of renewal", 429, {"message": "Rate limit hit"}, RATE, "Rate limit hit",
     headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2026-01-01T00:02:00Z", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, wait=120.0)
