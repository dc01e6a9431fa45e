import json

import pytest
from starlette.testclient import TestClient

from cutaway.untrusted import MAX_JSON_BYTES
from cutaway.web.security import loopback_hosts
from tests.explore.served import PORT, client_of, lines, mute

TOKEN = "a-token-of-the-test"
STRANGERS = (
    *("", "evil.example", f"evil.example:{PORT}", f"localhost.evil.example:{PORT}", f"localhost:{PORT}.evil.example"),
    *("localhost", "localhost:80", f"localhost:{PORT}/", f"user@localhost:{PORT}", f"127.0.0.2:{PORT}"),
)


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_of(mute())


class TestHost:
    @pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LocalHost"])
    def test_accepts_loopback_hostnames(self, client: TestClient, name: str) -> None:
        assert client.get("/api/model", headers={"host": f"{name}:{PORT}"}).status_code == 200

    @pytest.mark.parametrize("host", STRANGERS)
    def test_rejects_other_hostnames(self, client: TestClient, host: str) -> None:
        for path in ("/", "/api/model", "/page/main.js", "/nothing"):
            response = client.get(path, headers={"host": host})
            assert response.status_code == 403
            assert response.json() == {"error": "the Host header is not one of this server's hostnames"}

    def test_rejects_a_repeated_host(self, client: TestClient) -> None:
        both = [("host", f"localhost:{PORT}"), ("host", "evil.example")]
        assert client.get("/api/model", headers=both).status_code == 403

    def test_port_80_is_optional(self) -> None:
        assert "localhost" in loopback_hosts(80)
        assert "localhost" not in loopback_hosts(8477)


class TestOrigin:
    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://localhost:1", "http://127.0.0.1"])
    def test_rejects_posts_of_other_origins(self, client: TestClient, origin: str) -> None:
        response = client.post("/api/traces", json={"ids": [1]}, headers={"origin": origin})
        assert response.status_code == 403
        assert response.json() == {"error": "the request comes from a page of another origin"}

    def test_accepts_posts_of_our_origin(self, client: TestClient) -> None:
        origin = {"origin": f"http://127.0.0.1:{PORT}"}
        assert client.post("/api/traces", json={"ids": [1]}, headers=origin).status_code == 200

    def test_allows_no_cross_origin_reads(self, client: TestClient) -> None:
        response = client.get("/api/model", headers={"sec-fetch-site": "none"})
        assert not [name for name in response.headers if name.startswith("access-control")]
        preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        assert client.options("/api/traces", headers=preflight).status_code == 403


PAGE = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
IMAGE = {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}


class TestFetchMetadata:
    """Browsers say in Sec-Fetch-* from where a request comes, also where they send no Origin."""

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "", "anything"])
    @pytest.mark.parametrize("kind", [IMAGE, PAGE, {}, {**PAGE, "sec-fetch-dest": "iframe"}])
    @pytest.mark.parametrize("path", ["/api/tokens?text=aaa", "/api/model", "/page/main.js", "/nothing"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_rejects_what_other_pages_load(
        self, client: TestClient, method: str, path: str, kind: dict[str, str], site: str
    ) -> None:
        response = client.request(method, path, headers={**kind, "sec-fetch-site": site})
        assert response.status_code == 403

    @pytest.mark.parametrize("kind", [IMAGE, {}, {**PAGE, "sec-fetch-dest": "iframe"}])
    def test_rejects_the_page_in_another_page(self, client: TestClient, kind: dict[str, str]) -> None:
        assert client.get("/", headers={**kind, "sec-fetch-site": "cross-site"}).status_code == 403

    def test_rejects_gets_with_another_origin(self, client: TestClient) -> None:
        assert client.get("/api/model", headers={"origin": "http://evil.example"}).status_code == 403

    def test_rejects_contradicting_headers(self, client: TestClient) -> None:
        both = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]
        assert client.get("/api/model", headers=both).status_code == 403

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "same-origin"])
    def test_accepts_a_link_to_the_page(self, client: TestClient, site: str) -> None:
        assert client.get("/", headers={**PAGE, "sec-fetch-site": site}).status_code == 200

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    def test_accepts_the_page_and_typed_addresses(self, client: TestClient, site: str) -> None:
        assert client.get("/api/model", headers={"sec-fetch-site": site}).status_code == 200


class TestToken:
    @pytest.fixture
    def client(self) -> TestClient:
        return client_of(mute(), TOKEN)

    @pytest.mark.parametrize("path", ["/", "/api/model", "/page/main.js", "/?token=", "/?token=wrong", "/?token=é"])
    def test_is_required_for_every_path(self, client: TestClient, path: str) -> None:
        response = client.get(path)
        assert response.status_code == 403
        assert response.json() == {"error": "open the address with the token that the terminal shows"}

    def test_in_the_address_becomes_a_cookie_and_leaves_the_address(self, client: TestClient) -> None:
        entrance = client.get(f"/?token={TOKEN}")
        assert (entrance.status_code, entrance.headers["location"]) == (303, "/")
        name, *attributes = (part.strip() for part in entrance.headers["set-cookie"].split(";"))
        assert name == f"cutaway-{PORT}={TOKEN}"
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes)
        assert client.get("/api/model").status_code == 200
        assert client.post("/api/traces", json={"ids": [1]}).status_code == 200

    def test_is_accepted_at_the_root_only(self, client: TestClient) -> None:
        assert client.get(f"/api/model?token={TOKEN}").status_code == 403

    @pytest.mark.parametrize("cookie", [f"cutaway-{PORT}=wrong".encode(), f"cutaway-1={TOKEN}".encode(), b"=;;=\xff"])
    def test_rejects_a_wrong_cookie(self, client: TestClient, cookie: bytes) -> None:
        assert client.get("/api/model", headers=[(b"cookie", cookie)]).status_code == 403

    def test_allows_any_host_but_no_posts_of_other_origins(self, client: TestClient) -> None:
        headers = {"host": "machine.example:8477", "cookie": f"cutaway-{PORT}={TOKEN}"}
        assert client.get("/api/model", headers=headers).status_code == 200
        for origin, status in (("http://machine.example:8477", 200), ("http://evil.example", 403)):
            response = client.post("/api/traces", json={"ids": [1]}, headers={**headers, "origin": origin})
            assert response.status_code == status


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/api/model", "/api/traces/x/heads", "/nothing", "/api/traces"])
def test_every_response_has_the_security_headers(client: TestClient, path: str) -> None:
    for host in (f"localhost:{PORT}", "evil.example"):
        headers = client.get(path, headers={"host": host}).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'self'",
            "object-src": "'none'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
            "form-action": "'self'",
            "img-src": "'self' data: blob:",
            "style-src": "'self'",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-cache"


class TestBody:
    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", None])
    def test_rejects_other_content_types(self, client: TestClient, kind: str | None) -> None:
        headers = {"content-type": kind} if kind else {}
        response = client.post("/api/traces", content=b'{"ids": [1]}', headers=headers)
        assert response.status_code == 415
        assert response.json() == {"error": "the body must be application/json"}

    def test_accepts_a_charset(self, client: TestClient) -> None:
        headers = {"content-type": "Application/JSON; charset=utf-8"}
        assert client.post("/api/traces", content=b'{"ids": [1]}', headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "body", [b"[]", b"{", b"1", b'{"ids": [NaN]}', b'{"ids": 1, "ids": 1}', b"\xff", b"[" * 10**5]
    )
    def test_rejects_invalid_json(self, client: TestClient, body: bytes) -> None:
        response = client.post("/api/traces", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400
        assert response.json()["error"].startswith("request: its body ")

    def test_has_a_size_limit(self, client: TestClient) -> None:
        def post(size: int) -> int:
            body = json.dumps({"ids": [1]}).encode().ljust(size)
            return client.post("/api/traces", content=body, headers={"content-type": "application/json"}).status_code

        assert post(MAX_JSON_BYTES) == 200
        assert post(MAX_JSON_BYTES + 1) == 413

    def test_rejects_deeply_nested_json(self, client: TestClient) -> None:
        for depth in (50, 500, 900, 990):
            body = b'{"ids": [1], "sequence": ' + b"[" * depth + b"]" * depth + b"}"
            response = client.post("/api/traces", content=body, headers={"content-type": "application/json"})
            assert response.status_code == 400
            assert len(response.text) < 500

    def test_may_be_empty(self, client: TestClient) -> None:
        headers = {"content-type": "application/json"}
        name = lines(client.post("/api/traces", json={"ids": [1, 2]}).text)[-1]["trace"]
        assert client.post(f"/api/traces/{name}/cache_benchmark", headers=headers).status_code == 200
