"""The client's side of the beam: uvicorn's HTTP protocol with a proxy lane inside.

A request of the route table never becomes an ASGI call or a task: it is judged, given a new head
and handed to a pooled connection of its service, whose answer is written straight back. All else
goes to the ASGI app as usual. Requests on one connection are answered in order.
"""

from __future__ import annotations

import asyncio
import time

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from kit.errors import Problem

from .cache import answer as cached_answer
from .exchange import ASKING, FLOWING, WAITING, Exchange, OwnPages
from .reading import ANSWER, BODY, HEAD, IDLE, LINGER, WRITE, Reader
from .records import note, span_of
from .refusals import STATUS_LINES, answer

HIGH_WATER = 64 * 1024
LINGER_SECONDS = 2.0
ANY_METHOD = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


class BeamProtocol(Reader):
    """One connection of a client, answered."""

    draining = False
    advancing = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.beam.clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.beam.clients.discard(self)
        for x in self.queue:
            if x.stage == FLOWING and not x.over:
                note(x)
            x.over = True
            self.withdraw(x)
        self.queue.clear()
        # They know us: we would all wait for the collector of cycles.
        self.known = self.candidate = self.reading = None

    # Answering, in order

    def advance(self) -> None:
        """Begin what can be begun and pass on what has been read."""
        if self.advancing:
            return
        self.advancing = True
        queue = self.queue
        while queue and not self.flow.write_paused:
            x = queue[0]
            if x.stage == WAITING:
                self._begin(x)
            else:
                if x.upstream is not None and not x.sent_all:
                    x.upstream.push(x)
                if x.complete and self.phase == BODY:
                    self.wait(ANSWER, self.beam.patience(x))
            if queue and queue[0] is x:
                break
        self.advancing = False
        if self.flow.read_paused or len(queue) > 1 or (queue and not queue[0].complete):
            self.regulate()

    def regulate(self) -> None:
        """Read on, or let the client wait: while earlier requests are unanswered, while the
        service takes no more, and while much has come in and no connection is there yet."""
        if self.transport.is_closing():
            return
        queue = self.queue
        if not queue:
            self.flow.resume_reading()
            return
        x = queue[0]
        if x.upstream is not None:
            full = x.upstream.stopped
        else:
            full = x.body_bytes > HIGH_WATER and x.pool is not None
        if full or len(queue) > 1:
            if self.phase == BODY and not self.flow.read_paused:
                # It is no longer the client that we wait for.
                self.deadline = self.loop.time() + self.beam.patience(x)
            self.flow.pause_reading()
        elif self.flow.read_paused:
            if self.phase == BODY:
                self.wait(BODY, self.beam.settings.gateway_body_seconds)
            self.flow.resume_reading()

    def _begin(self, x: Exchange) -> None:
        beam = self.beam
        x.began = time.perf_counter()
        x.stamp = beam.stamps.of(x.origin)
        if x.method == b"OPTIONS" and x.refusal in (None, "method_not_allowed"):
            if x.preflight and x.origin and beam.stamps.on:
                self._answer_options(x, beam.stamps.preflight(x.origin))
                return
            if x.allow:
                self._answer_options(x, b"allow: %b\r\n%b" % (x.allow, x.stamp))
                return
        if x.refusal is not None:
            self.refuse(x, x.refusal)
            return
        x.stage = ASKING
        if x.complete:
            self.wait(ANSWER, beam.patience(x))
        else:
            self.wait(BODY, beam.settings.gateway_body_seconds)
        if x.token is None:
            self._admit(x, x.address)
            return
        skip = 7 if x.token[:7].lower() == b"bearer " else 0
        if not skip and x.token[:5].lower() == b"dpop ":
            skip = 5
        if not skip:
            alone = x.token.lower() in (b"bearer", b"dpop")
            if alone or (x.route is not None and not x.route.public):
                self.refuse(x, "bad_token")
            else:
                self._admit(x, x.address)
            return
        text = x.token[skip:].strip().decode("latin-1")
        caller = beam.keyring.verify_cached(text)
        if caller is not None:
            x.caller = caller
            self._admit(x, caller.subject)
        else:
            beam.run(self._verify(x, text))

    async def _verify(self, x: Exchange, token: str) -> None:
        try:
            caller = await self.beam.keyring.verify(token)
        except Problem as problem:
            if problem.status == 401:
                wait, x.quota = self.beam.limiter.charge(x.address)
                self.refuse(x, "too_many" if wait else "bad_token", wait)
            else:
                self.refuse(x, "identity_unavailable")
        else:
            x.caller = caller
            self._admit(x, caller.subject)
        self.advance()

    def _answer_options(self, x: Exchange, lines: bytes) -> None:
        """Which methods an address takes (RFC 9110, 9.3.7), or what a browser asks before it lets
        a page call: no service needs to know."""
        x.keep = not self.closes_after(x)
        x.status = 204
        data = (STATUS_LINES[204], b"x-request-id: ", x.request_id, b"\r\n")
        end = b"\r\n" if x.keep else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((*data, lines, end)))
        self.answered(x)

    def _admit(self, x: Exchange, key: str) -> None:
        """Let a request through unless its sender asks too much, and hand it on."""
        if x.over:
            return
        beam, route = self.beam, x.route
        wait, x.quota = beam.limiter.charge(key)
        if not wait and route is not None and route.rate is not None:
            wait, x.quota = beam.tighter[route.rate].charge(key)
        if wait:
            self.refuse(x, "too_many", wait)
            return
        caller = x.caller
        if (
            caller is not None
            and route is not None
            and route.scopes
            and route.scopes.isdisjoint(caller.scopes)
        ):
            self.refuse(x, "insufficient_scope")
            return
        if x.expects and not x.complete:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if x.pool is not None:
            if route is None or not route.cached or not self._from_cache(x):
                x.pool.send(x)
        else:
            self._ask_app(x)

    def _from_cache(self, x: Exchange) -> bool:
        now = self.loop.time()
        kept = self.beam.cache.find(x, now)
        if kept is None:
            return False
        x.keep = not self.closes_after(x)
        self.transport.write(cached_answer(kept, x, now))
        self.answered(x)
        return True

    def _ask_app(self, x: Exchange) -> None:
        """One of the house's own pages: an ordinary ASGI call; a body is not looked at."""
        x.stage = FLOWING
        cycle = self.cycle = RequestResponseCycle(
            scope=self.beam.scope(x, self),
            transport=OwnPages(x),  # type: ignore[arg-type]
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.beam.stamps.pairs(x.origin),
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=not self.closes_after(x),
            on_response=lambda: self.answered(x),
        )
        x.keep = cycle.keep_alive
        cycle.more_body = False
        self._start_asgi_task(cycle, self.app)

    def closes_after(self, x: Exchange) -> bool:
        """Whether the answer to this request is the last on its connection."""
        last = self.draining and len(self.queue) == 1 and not self.in_head
        return last or not x.keep or not x.complete

    def write_answer(self, x: Exchange, data: bytes, ended: bool) -> None:
        x.started = True
        self.transport.write(data)
        if not ended and self.phase == ANSWER:
            self.wait(ANSWER, self.beam.patience(x))

    def refuse(self, x: Exchange, code: str, retry_after: int = 0) -> None:
        """Answer with a problem of our own; hang up where an answer has begun already."""
        if x.over:
            return
        if x.started:
            self.transport.abort()
            return
        x.keep = not self.closes_after(x)
        more = b"retry-after: %d\r\n" % retry_after if retry_after else b""
        if code == "method_not_allowed":
            more = b"allow: %b\r\n" % (x.allow or ANY_METHOD)
        elif code == "insufficient_scope":
            more = _challenge(x)
        x.status, data = answer(
            code,
            accept_language=x.accept_language,
            instance=x.path.decode("latin-1"),
            request_id=x.request_id,
            service=x.route.service if x.route is not None else None,
            keep=x.keep,
            body_wanted=x.method != b"HEAD",
            page=x.route is not None and x.route.is_page,
            cookies=x.cookies,
            headers=x.stamp + x.quota + more,
        )
        self.transport.write(data)
        if x.route is not None or x.status >= 429:
            self.beam.refusals.note(x, code)
        self.answered(x)

    def upstream_failed(self, x: Exchange) -> None:
        """The service broke off before its answer was whole."""
        x.upstream = None
        self.refuse(x, "bad_gateway")

    def answered(self, x: Exchange) -> None:
        """The answer has been written whole; go on with the next request."""
        if x.over:
            return
        x.over = True
        self.queue.popleft()
        self.server_state.total_requests += 1
        self.beam.counters.seen(x, time.perf_counter() - x.began)
        if x.span is not None and x.route is not None and self.beam.tracer is not None:
            self.beam.tracer.keep(span_of(x, x.span, x.route))
        if x.caller is not None:
            note(x)
        if not x.keep or not x.complete:
            self._hang_up(x)
        elif self.queue:
            self.advance()
        else:
            self._rest()

    def _rest(self) -> None:
        """All is answered: wait for the next request."""
        settings, flow = self.beam.settings, self.flow
        if flow.write_paused:
            self.wait(WRITE, settings.gateway_write_seconds)
            return
        if flow.read_paused:
            flow.resume_reading()
        if self.in_head:
            self.wait(HEAD, settings.gateway_head_seconds)
        elif self.draining:
            self.wait(IDLE, settings.gateway_linger_seconds)
        else:
            self.wait(IDLE, settings.gateway_idle_seconds)

    def _hang_up(self, x: Exchange) -> None:
        """Close after an answer. Where the client may still be sending, stop writing but read
        on for a moment: a reset would take the answer from it."""
        self.last_read = True
        for later in self.queue:
            # Came in behind an answer that announced the end: never begun.
            later.over = True
        self.queue.clear()
        if self.transport.is_closing():
            return
        if x.complete and x.refusal is None:
            self.wait(LINGER, self.beam.settings.gateway_write_seconds)
            self.transport.close()
            return
        self.wire_bytes = 0
        self.wait(LINGER, LINGER_SECONDS)
        self.flow.resume_reading()
        self.transport.write_eof()

    def withdraw(self, x: Exchange) -> None:
        if x.upstream is not None:
            x.upstream.abandon()
            x.upstream = None

    # Flow, time and the end

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.phase == ANSWER:
            self.wait(WRITE, self.beam.settings.gateway_write_seconds)
        if self.queue and self.queue[0].upstream is not None:
            self.queue[0].upstream.hold()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.queue:
            x = self.queue[0]
            if self.phase == WRITE:
                self.wait(ANSWER, self.beam.patience(x))
            if x.upstream is not None:
                x.upstream.let_go()
            self.advance()
        elif self.phase == WRITE:
            self._rest()

    def expire(self) -> None:
        """Patience is at its end."""
        phase = self.phase
        if phase in (HEAD, BODY) and not self.flow.read_paused:
            self.cannot_read("request_timeout")
            self.advance()
        elif phase in (BODY, ANSWER) and self.queue:
            x = self.queue[0]
            asked = x.upstream is not None
            if asked and x.pool is not None and not x.started and x.complete:
                x.pool.breaker.failed(self.loop.time())
            self.withdraw(x)
            self.refuse(x, "timeout" if asked else "unavailable")
            self.advance()
        elif phase == IDLE:
            # What was written may still lie unread.
            self.wait(LINGER, LINGER_SECONDS)
            self.transport.close()
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        """The server stops: answer what is here, take one more request from a kept connection
        if it comes at once, say `Connection: close`."""
        self.draining = True
        if self.queue:
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.keep_alive = False
        elif self.phase == IDLE:
            soon = self.loop.time() + self.beam.settings.gateway_linger_seconds
            self.deadline = min(self.deadline, soon)


def _challenge(x: Exchange) -> bytes:
    """RFC 6750 section 3.1, RFC 9449 section 7.1: which scopes would have done."""
    scheme = b"Bearer" if x.caller is None or x.caller.jkt is None else b"DPoP"
    scopes = " ".join(sorted(x.route.scopes)).encode() if x.route is not None else b""
    return b'www-authenticate: %b error="insufficient_scope", scope="%b"\r\n' % (scheme, scopes)
