"""The server of the whole directory, for the tests: Python's own http.server with TLS.

    server.py FOLDER CERTIFICATE KEY CLIENT_AUTHORITY

Serves /igpec.ldif.p7m from FOLDER to clients with a certificate of CLIENT_AUTHORITY, with an ETag, in the
way that FOLDER/mode says: `good`, `truncated`, `slow`, `error`, `redirect`. Prints its port, then a JSON object a
request: what was asked, by whom, and the answer.
"""

import hashlib
import http.server
import json
import pathlib
import ssl
import sys
import time

FOLDER = pathlib.Path(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        mode = (FOLDER / "mode").read_text().strip()
        octets = (FOLDER / "igpec.ldif.p7m").read_bytes()
        etag = '"' + hashlib.sha256(octets).hexdigest()[:20] + '"'
        status, length = 200, len(octets)
        if self.path != "/igpec.ldif.p7m":
            status = 404
        elif mode == "error":
            status = 503
        elif mode == "redirect":
            status = 302
        elif self.headers.get("If-None-Match") == etag:
            status = 304
        subject = dict(part[0] for part in self.connection.getpeercert()["subject"])
        seen = {
            "path": self.path,
            "status": status,
            "etag": self.headers.get("If-None-Match"),
            "client": subject.get("commonName"),
        }
        print(json.dumps(seen), flush=True)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/igpec.ldif.p7m")
        self.send_header("ETag", etag)
        self.send_header("Content-Type", "application/pkcs7-mime; smime-type=signed-data")
        if status != 304:
            self.send_header("Content-Length", str(length if status == 200 else 0))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if status != 200:
            return
        if mode == "truncated":
            octets = octets[: length // 2]
        if mode == "slow":
            self.wfile.write(octets[:1])
            self.wfile.flush()
            time.sleep(60)
        try:
            self.wfile.write(octets)
        except OSError:
            pass

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", 0), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[2], sys.argv[3])
tls.verify_mode = ssl.CERT_REQUIRED
tls.load_verify_locations(sys.argv[4])
server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
