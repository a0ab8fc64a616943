# The guest of the scenario on a cluster whose guests boot a public image: it
# gives the same answers as programs/guest.
import http.server, json, os, socket, sys, threading, urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/dial":
            text = json.dumps(dial(query.get("addr", ""), query.get("send") or "hello"))
        else:
            text = "hello from guest %s: client=%s:%d local=%s:%d host=%s path=%s\n" % (
                (socket.gethostname(),) + self.client_address[:2] + self.connection.getsockname()[:2]
                + (self.headers.get("Host"), url.path))
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def dial(address, text):
    result = {}
    try:
        host, port = address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), 12) as c:
            result["local"] = "%s:%d" % c.getsockname()[:2]
            result["remote"] = "%s:%d" % c.getpeername()[:2]
            c.sendall(text.encode() + b"\n")
            result["answer"] = c.recv(2048).decode()
    except (OSError, ValueError) as e:
        result["error"] = str(e)
    return result


def echo(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    while True:
        data, client = s.recvfrom(2048)
        s.sendto(b"echo client=%s:%d %s" % (client[0].encode(), client[1], data), client)


http_port, udp_port = int(sys.argv[1]), int(sys.argv[2])
threading.Thread(target=echo, args=(udp_port,), daemon=True).start()
http.server.ThreadingHTTPServer(("", http_port), Handler).serve_forever()
