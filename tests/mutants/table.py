"""The mutants: one small change each, that breaks one rule of the engine.

A rule without a mutant isn't known to be tested; a mutant that no test notices is a rule that isn't.
"""

from __future__ import annotations

import dataclasses

CHANNEL, TURN, WORKER = "flowgraph/channel.py", "flowgraph/turn.py", "flowgraph/worker.py"
LANES, SESSION, HANDOFF = "flowgraph/lanes.py", "flowgraph/session.py", "flowgraph/handoff.py"
TRACE, WIRING, CLOCK, FRAME = "flowgraph/trace.py", "flowgraph/wiring.py", "flowgraph/clock.py", "flowgraph/frame.py"
CHECKS = "flowgraph/checks.py"

ENGINE = ("tests/test_channel.py", "tests/test_turn.py", "tests/test_worker.py", "tests/test_session.py")
HTTP, CHILDREN, PLAYBACK = "flowgraph/http.py", "flowgraph/children.py", "nodes/sound/playback.py"
RULES, DOOR = "tests/test_rules.py", "tests/test_handoff.py"

GRAPHS = ("tests/test_graph.py", "tests/test_broken_graphs.py", RULES)
TRACES = ("tests/test_trace.py", "tests/test_session.py", RULES)
WIRES = ("tests/test_http.py", "tests/test_services.py")
DIALOGUE, BARGE_IN = "nodes/dialogue.py", "nodes/turns/barge_in.py"
TAKING = ("tests/nodes/test_dialogue.py", "tests/nodes/turns")
EARS = ("tests/nodes/sound/test_playback.py", "tests/nodes/test_speaker.py", RULES)


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    rule: int
    """Of the engine's fourteen; 0: of turn-taking (`nodes/dialogue.py`)."""
    name: str
    """What is broken, as a sentence."""
    file: str
    old: str
    """Occurs in the file exactly once."""
    new: str
    tests: tuple[str, ...] = (*ENGINE, RULES, DOOR)
    """One of them must fail."""


MUTANTS = (
    # -- 1: facts and plans --------------------------------------------------------------------------------------------
    Mutant(
        1, "a stale fact is refused at put", CHANNEL,
        "if frame.is_plan and frame.turn < self._turn.number:\n            self._tap((self._now(), STALE",
        "if frame.turn < self._turn.number:\n            self._tap((self._now(), STALE",
    ),
    Mutant(
        1, "a stale fact is dropped in the channel", CHANNEL,
        "            if not frame.is_plan:\n                return order\n",
        "",
    ),
    Mutant(
        1, "a stamped frame may be changed in the tests", FRAME,
        'stamped = getattr(self, "id", 0) != 0',
        "stamped = False",
    ),
    # -- 2: the turn ---------------------------------------------------------------------------------------------------
    Mutant(
        2, "a node that isn't the owner may make a plan of a fact", WORKER,
        "elif current is None or not current.is_plan:",
        "elif False:",
    ),
    Mutant(
        2, "a commit takes any attempt", TURN,
        "if number != self.number:",
        "if number > self.number:",
    ),
    Mutant(
        2, "without an owner plans are never of the current attempt", TURN,
        "self.number = 0 if owned else 1",
        "self.number = 0",
    ),
    # -- 3: interruption is a number ------------------------------------------------------------------------------------
    Mutant(
        3, "no comparison at put", CHANNEL,
        "if frame.is_plan and frame.turn < self._turn.number:\n            self._tap((self._now(), STALE",
        "if False:\n            self._tap((self._now(), STALE",
    ),
    Mutant(
        3, "no comparison at take", CHANNEL,
        "            if frame.turn < self._turn.number:\n                self._discard(STALE)\n                continue\n",
        "",
    ),
    Mutant(
        3, "advance leaves the gain where it is", TURN,
        "        self.number += 1\n        self.gain = 1.0\n",
        "        self.number += 1\n",
    ),
    Mutant(
        3, "listeners hear of an advance before the number has moved", TURN,
        "        self.number += 1\n        self.gain = 1.0\n",
        "        for listener in self._advanced:\n            listener()\n        self.number += 1\n        self.gain = 1.0\n",
    ),
    # -- 4: comparison for correctness, cancellation for economy ---------------------------------------------------------
    Mutant(
        4, "a put that waits isn't woken by an interruption", CHANNEL,
        "        turn.on_advance(self._wake_putters)\n",
        "",
    ),
    Mutant(
        4, "work on a stale plan isn't cancelled", WORKER,
        "            task.cancel()\n            asyncio.get_running_loop().call_later",
        "            asyncio.get_running_loop().call_later",
    ),
    Mutant(
        4, "work on a fact is cancelled", WORKER,
        "stale = frame is not None and frame.is_plan and frame.turn < number",
        "stale = frame is not None and frame.turn < number",
    ),
    Mutant(
        4, "a stop is absorbed", WORKER,
        "return task.uncancel() == 0",
        "task.uncancel()\n        return True",
    ),
    Mutant(
        4, "a cancel whose frame has just ended isn't absorbed", WORKER,
        "            if self._interrupted:\n"
        "                self._absorb(task)  # the frame ended before the cancel could reach it\n",
        "",
    ),
    Mutant(
        4, "no flush after an interruption", WORKER,
        "            self.node.flush()",
        "            pass",
    ),
    Mutant(
        4, "flush comes at once instead of in band", WORKER,
        "        self._flush_due = True\n        number = self._turn.number\n",
        "        self.node.flush()\n        number = self._turn.number\n",
    ),
    Mutant(
        4, "clean-up is never detached", WORKER,
        "        self._detach(task)\n        self._consumer = asyncio",
        "        return\n        self._consumer = asyncio",
    ),
    Mutant(
        4, "detached clean-up isn't reported", WORKER,
        '        self._note(f"clean-up after an interruption took',
        '        str(f"clean-up after an interruption took',
    ),
    Mutant(
        4, "the generator of a stale plan isn't closed", WORKER,
        "        try:\n            async for output in outputs:\n                await self._emit(output, frame)\n"
        "                if frame.is_plan and frame.turn < self._turn.number:\n                    break\n"
        "        finally:\n            await outputs.aclose()\n",
        "        async for output in outputs:\n            await self._emit(output, frame)\n"
        "            if frame.is_plan and frame.turn < self._turn.number:\n                break\n",
    ),
    # -- 5: speculation is a held edge -----------------------------------------------------------------------------------
    Mutant(
        5, "hold is ignored", CHANNEL,
        "            if frame.turn > self._turn.committed:\n                return 0\n",
        "",
    ),
    Mutant(
        5, "a commit doesn't wake who waits at a held edge", CHANNEL,
        "        self._released = next(self._order)\n        self._inbox.wake()\n",
        "        self._released = next(self._order)\n",
    ),
    Mutant(
        5, "a held head keeps its old place in the order", CHANNEL,
        "return max(order, self._released)",
        "return order",
    ),
    Mutant(
        5, "inputs are taken edge by edge instead of by put order", CHANNEL,
        "if order and (best is None or order < first):",
        "if order and best is None:",
    ),
    Mutant(
        5, "the owner's put waits", CHANNEL,
        'self._waits = edge.overflow == "block" and not owned',
        'self._waits = edge.overflow == "block"',
    ),
    # -- 6: stamps -------------------------------------------------------------------------------------------------------
    Mutant(
        6, "a late frame is stamped with the current number", WORKER,
        "            output.turn = current.turn  # type: ignore[misc]\n",
        "            output.turn = self._turn.number  # type: ignore[misc]\n",
    ),
    Mutant(
        6, "a frame yielded again is stamped again", WORKER,
        "                            if not output.id:\n                                stamp(output, frame)\n",
        "                            output = output.restamped(id=0)\n                            stamp(output, frame)\n",
    ),
    Mutant(
        6, "what a node knows better of the time is overwritten", WORKER,
        "            if not output.at:\n                output.at = current.at",
        "            if True:\n                output.at = current.at",
    ),
    Mutant(
        6, "a cause that run() names is ignored", WORKER,
        "        if isinstance(cause, Frame):\n            current = cause\n",
        "",
    ),
    Mutant(
        6, "the owner's plan takes the number of the frame in process", WORKER,
        "        if self._is_owner:\n            output.turn = self._turn.number  # type: ignore[misc]\n        elif output.is_plan:",
        "        if output.is_plan and not self._is_owner:",
    ),
    # -- 7: bounds and feedback ------------------------------------------------------------------------------------------
    Mutant(
        7, "edges have no bound", CHANNEL,
        "            if len(self._queue) >= self._capacity and not self._make_room(frame):",
        "            if False and not self._make_room(frame):",
    ),
    Mutant(
        7, "a bound in time isn't kept", CHANNEL,
        "too_long = self._used > 0 and self._used + frame.duration_ns > self._capacity",
        "too_long = False",
    ),
    Mutant(
        7, "drop_oldest doesn't count what it loses", CHANNEL,
        "                self._lost += 1\n",
        "",
    ),
    Mutant(
        7, "what was lost on one edge is written into the frame of all", CHANNEL,
        "frame = frame.restamped(lost=self._lost)",
        "object.__setattr__(frame, 'lost', self._lost)",
    ),
    Mutant(
        7, "overflow: fail loses silently", CHANNEL,
        '        if self._edge.overflow == "fail":\n            raise Overflow(',
        '        if self._edge.overflow == "fail":\n            return True\n            raise Overflow(',
    ),
    Mutant(
        7, "what is stale makes no room", CHANNEL,
        "        while self._queue and (head := self._queue[0][1]).is_plan and head.turn < self._turn.number:\n"
        "            self._discard(STALE)\n",
        "",
    ),
    Mutant(
        7, "a feedback edge keeps a node from ending", CHANNEL,
        "if not (channel.closed and not len(channel)) and (not channel.feedback or self.source):",
        "if not (channel.closed and not len(channel)):",
    ),
    # -- 8: two tasks, lanes, threads, the one door ------------------------------------------------------------------------
    Mutant(
        8, "parallel outputs leave in the order in which they are ready", LANES,
        "lane = self._lanes[0] if self._lanes else None",
        "lane = next((one for one in self._lanes if one.outputs), self._lanes[0]) if self._lanes else None",
    ),
    Mutant(
        8, "parallel frames don't overlap", LANES,
        "self._inbox.poll() if len(self._lanes) < self._most else None",
        "self._inbox.poll() if len(self._lanes) < 1 else None",
    ),
    Mutant(
        8, "an interruption doesn't cancel parallel frames", LANES,
        '"""The turn advanced: cancel what is worthless."""\n',
        '"""The turn advanced: cancel what is worthless."""\n        return\n',
    ),
    Mutant(
        8, "a blocking step is abandoned by an interruption", WORKER,
        "            except asyncio.CancelledError:\n                await asyncio.wait([step])\n                raise\n",
        "            except asyncio.CancelledError:\n                raise\n",
    ),
    Mutant(
        8, "a full handoff overwrites", HANDOFF,
        "        if after == self._head:\n            self.count_lost += 1\n            return False\n",
        "",
    ),
    Mutant(
        8, "a full handoff isn't counted", HANDOFF,
        "            self.count_lost += 1\n",
        "",
    ),
    Mutant(
        8, "a burst wakes the loop once an item", HANDOFF,
        "        if not self._signalled:\n            self._signalled = True\n            self._signal()\n",
        "        self._signal()\n",
    ),
    Mutant(
        8, "a plain process keeps the loop to itself", WORKER,
        "                slice_left = FRAMES_A_SLICE\n                await asyncio.sleep(0)\n",
        "                slice_left = FRAMES_A_SLICE\n",
    ),
    # -- 10: every prompt ends ---------------------------------------------------------------------------------------------
    Mutant(
        10, "no End where a node fails", WORKER,
        "                self._end_attempt(frame, failure.message)\n",
        "                pass\n",
    ),
    Mutant(
        10, "the rest of an attempt goes on behind its failure", WORKER,
        "            self._refused = max(self._refused, attempt)\n",
        "",
    ),
    Mutant(
        10, "a prompt that comes to no end isn't reported", SESSION,
        "            if due and self.clock",
        "            if False and self.clock",
    ),
    # -- 11: life, failure, restart ----------------------------------------------------------------------------------------
    Mutant(
        11, "nodes open one after the other", SESSION,
        "results = await asyncio.gather(*(opened(name) for name in names), return_exceptions=True)",
        "results = [await asyncio.gather(opened(name), return_exceptions=True) for name in names]\n"
        "        results = [one for (one,) in results]",
    ),
    Mutant(
        11, "after a failed open nothing is closed", SESSION,
        "            self._opened.append(name)  # from here on there may be something to close\n",
        "",
    ),
    Mutant(
        11, "nodes close in the opposite order", SESSION,
        "for name in [name for name in self.graph.order if name in self._opened]:",
        "for name in [name for name in reversed(self.graph.order) if name in self._opened]:",
    ),
    Mutant(
        11, "sources start before their consumers", SESSION,
        "        for name in reversed(graph.order):\n",
        "        for name in graph.order:\n",
    ),
    Mutant(
        11, "a close that fails keeps the others open", SESSION,
        "            except Exception as error:\n                self._tell(f\"node '{name}' could not close: {error}\")\n",
        "",
    ),
    Mutant(
        11, "the owner isn't told of a failure", WORKER,
        "        self._tell_owner(told)\n",
        "",
    ),
    Mutant(
        11, "a node restarts for ever", WORKER,
        "        if len(self._restarts) >= MOST_RESTARTS:\n            raise NodeFailed(",
        "        if False:\n            raise NodeFailed(",
    ),
    Mutant(
        11, "a restart does not wait", WORKER,
        "            await asyncio.sleep(FIRST_BACK_OFF_S * 2 ** len(self._restarts))\n",
        "",
    ),
    Mutant(
        11, "a restart keeps the old node", WORKER,
        "            self.node = self._make()\n            try:",
        "            try:",
    ),
    Mutant(
        11, "the owner may skip a failure", WORKER,
        'if self._on_error == "fail" or self._is_owner:',
        'if self._on_error == "fail":',
    ),
    Mutant(
        11, "a stop does not wait for what is on its way", SESSION,
        "await asyncio.wait(self._tasks.values(), timeout=drain_s)",
        "await asyncio.wait(self._tasks.values(), timeout=0)",
    ),
    Mutant(
        11, "a failure doesn't say which frame it was about", WORKER,
        '        if frame is not None:\n            doing = f"processing',
        '        if False:\n            doing = f"processing',
    ),
    # -- 13: what happened is seen in one place ------------------------------------------------------------------------------
    Mutant(
        13, "a take isn't written down", CHANNEL,
        "        self._tap((self._now(), TAKE, self.index, frame.id))\n",
        "",
    ),
    Mutant(
        13, "a put isn't written down", CHANNEL,
        "            self._used += frame.duration_ns\n        self._tap((self._now(), PUT, self.index, frame.id))\n"
        "        if self._hold",
        "            self._used += frame.duration_ns\n        if self._hold",
    ),
    Mutant(
        13, "a commit isn't written down", TURN,
        "            self._tap((self._now(), COMMIT, number, self.by()))\n",
        "",
    ),
    Mutant(
        13, "who moved the turn isn't written down", SESSION,
        "self.turn.by = lambda: worker.current.id if worker.current is not None else 0",
        "self.turn.by = lambda: 0",
    ),
    # -- 2, 5, 7, 10: what is checked before the start ---------------------------------------------------------------------------
    Mutant(
        2, "two owners are fine", CHECKS,
        "for other in owners[1:]:",
        "for other in owners[2:]:",
        GRAPHS,
    ),
    Mutant(
        3, "a speaker that no owner can interrupt is fine", CHECKS,
        "        _interruptible(draft, owner)\n",
        "",
        GRAPHS,
    ),
    Mutant(
        5, "an owner may speculate into a speaker", CHECKS,
        "        _speculation(draft, owner)\n",
        "",
        GRAPHS,
    ),
    Mutant(
        5, "only one of the ways to a speaker has to be held", CHECKS,
        "free = _digraph(draft.nodes, (edge for edge in draft.edges if _plans(edge) and not edge.hold))",
        "held = {edge.target for edge in draft.edges if edge.hold}\n"
        "    free = _digraph(draft.nodes, (e for e in draft.edges if _plans(e) and e.target not in held))",
        GRAPHS,
    ),
    Mutant(
        7, "a cycle needs no feedback edge", CHECKS,
        "if len(knot) > 1]",
        "if len(knot) > 99]",
        GRAPHS,
    ),
    Mutant(
        7, "an End may go round in a circle", CHECKS,
        "if kind.is_plan and nx.has_path(passed_on",
        "if not kind.is_plan and nx.has_path(passed_on",
        GRAPHS,
    ),
    Mutant(
        7, "a feedback edge blocks", WIRING,
        'return "fail" if feedback else',
        'return "block" if feedback else',
        GRAPHS,
    ),
    Mutant(
        7, "a live producer's edge blocks", WIRING,
        'else "drop_oldest" if live else "block"',
        'else "block" if live else "block"',
        GRAPHS,
    ),
    Mutant(
        10, "a node may swallow the End that the next one waits for", CHECKS,
        "        _ends(draft, owner)\n",
        "",
        GRAPHS,
    ),
    # -- 12: time ----------------------------------------------------------------------------------------------------------------
    Mutant(
        12, "virtual time goes on while a thread works", CLOCK,
        "        if self._loop._held:\n",
        "        if False:\n",
        ("tests/test_clock.py",),
    ),
    Mutant(
        12, "virtual time is rounded to milliseconds", CLOCK,
        "self._now_ns += round(seconds * SECOND)",
        "self._now_ns += round(seconds * 1000) * 1_000_000",
        ("tests/test_clock.py",),
    ),
    Mutant(
        12, "a graph that can never go on waits for ever", CLOCK,
        "        if seconds is None:\n",
        "        if seconds is None and False:\n",
        ("tests/test_clock.py",),
    ),
    # -- 13: the path ------------------------------------------------------------------------------------------------------------
    Mutant(
        13, "at a held edge the path always follows the put", TRACE,
        "            if committed > made:\n",
        "            if False:\n",
        TRACES,
    ),
    Mutant(
        13, "a missing put is guessed", TRACE,
        '        raise Incomplete(f"the trace has no put of frame',
        '        return record.made_at\n        raise Incomplete(f"the trace has no put of frame',
        TRACES,
    ),
    Mutant(
        13, "a missing commit is passed over", TRACE,
        "        if record.turn not in self.commits:\n            raise Incomplete(",
        "        if record.turn not in self.commits:\n            return 0, 0\n            raise Incomplete(",
        TRACES,
    ),
    Mutant(
        13, "connecting counts as working", TRACE,
        '            yield Step("network", node, first, last)\n',
        '            yield Step("working", node, first, last)\n',
        TRACES,
    ),
    Mutant(
        13, "details are kept for ever", TRACE,
        "        while len(self._attempts) > KEPT_ATTEMPTS:\n",
        "        while False:\n",
        TRACES,
    ),
    # -- 14: services --------------------------------------------------------------------------------------------------------------
    Mutant(
        14, "no spare connection is made when one is taken", HTTP,
        "        if params.response.status != 101:  # a WebSocket stays: it leaves nothing to follow soon\n"
        "            self.rewarm()\n",
        "",
        WIRES,
    ),
    Mutant(
        14, "no spare connection is made after a cancel has cost one", HTTP,
        '            self._log(self.name, "closed", self._now())\n            self.rewarm()\n',
        '            self._log(self.name, "closed", self._now())\n',
        WIRES,
    ),
    Mutant(
        14, "a cancelled answer is left running on its server", HTTP,
        "        self._response.release()  # where",
        "        _ = self._response.release  # where",
        WIRES,
    ),
    Mutant(
        14, "a server outlives its parent", CHILDREN,
        "                stdin=subprocess.PIPE,\n",
        "                stdin=subprocess.DEVNULL,\n",
        WIRES,
    ),
    Mutant(
        14, "a server that says nothing is waited for for ever", CHILDREN,
        "return await asyncio.wait_for(asyncio.wrap_future(self.ready), READY_S)",
        "return await asyncio.wrap_future(self.ready)",
        WIRES,
    ),
    # -- 3 again: the device -------------------------------------------------------------------------------------------------------
    Mutant(
        3, "the device's callback doesn't compare", PLAYBACK,
        "            if self._turns[slot] < number:\n",
        "            if False:\n",
        EARS,
    ),
    Mutant(
        3, "the device's callback doesn't read the gain", PLAYBACK,
        "number, target = self._turn.number, self._turn.gain",
        "number, target = self._turn.number, 1.0",
        EARS,
    ),
    Mutant(
        3, "a paused answer goes on in silence", PLAYBACK,
        "if filled == wanted or self._gain == target == 0.0 or (due",
        "if filled == wanted or (due",
        EARS,
    ),
    Mutant(
        3, "a ducked answer is played at full level", PLAYBACK,
        "        elif target != 1.0:\n            piece *= target\n",
        "",
        EARS,
    ),
    Mutant(
        3, "what the callback found no room to say is forgotten", PLAYBACK,
        "        self._owed = not self._tell(news)\n",
        "        self._tell(news)\n        self._owed = False\n",
        EARS,
    ),
    # -- turn-taking ---------------------------------------------------------------------------------------------------
    Mutant(
        0, "an attempt goes on though the user does", DIALOGUE,
        "        if self._attempt is not None and not self._attempt.audible_at:\n            self._withdraw()\n\n    def _on_transcript",
        "\n    def _on_transcript", TAKING,
    ),
    Mutant(
        0, "what a withdrawn attempt was asked is lost", DIALOGUE,
        "        self.ctx.turn.advance()\n        self._attempt = None\n        self._suspended = False",
        "        self.ctx.turn.advance()\n        self._said.forget()\n        self._attempt = None\n        self._suspended = False",
        TAKING,
    ),
    Mutant(
        0, "a transcript that says the same makes another attempt", DIALOGUE,
        "        if self._attempt is not None and same(self._attempt.said, text):\n            return False\n", "", TAKING,
    ),
    Mutant(
        0, "attempts have no bound", DIALOGUE, " or (self.max_attempts and self._tries >= self.max_attempts)", "", TAKING,
    ),
    Mutant(0, "withdrawals cost no patience", DIALOGUE, " * self.backoff**self._withdrawn", "", TAKING),
    Mutant(
        0, "speech over the answer doesn't pause it", BARGE_IN,
        "            if lasts or (voice.speaking and lasted >= self._pause_after):\n                self._turn.set_gain(0.0)\n", "", TAKING,
    ),
    Mutant(
        0, "a voice that the detector doubts doesn't pause the answer", BARGE_IN,
        "1.0 if not alert else 0.0 if lasts else self._duck", "self._duck if alert else 1.0", TAKING,
    ),
    Mutant(
        0, "only speech lasts, not what sounded before and behind it", BARGE_IN,
        "if lasts or (voice.speaking", "if (voice.speaking", TAKING,
    ),
    Mutant(
        0, "what sounds beside the echo ducks nothing before the canceller lets it through", BARGE_IN,
        "if self._attention.notices(beside) and audible and", "if False and audible and", TAKING,
    ),
    Mutant(
        0, "an answer that is paused when the microphone's sound ends stays so", DIALOGUE,
        "self.ctx.turn.set_gain(1.0)  # nobody will say any more: an answer that is ducked or paused goes on", "pass", TAKING,
    ),
    Mutant(
        0, "after a cough the answer stays paused", BARGE_IN,
        "            self._overlap, self._let_go = None, overlap\n            self._turn.set_gain(1.0)",
        "            self._overlap, self._let_go = None, overlap", TAKING,
    ),
    Mutant(
        0, "a backchannel becomes part of the interruption that follows", BARGE_IN,
        '        if verdict == "nothing":\n            self._said.forget_since(overlap.onset_at)\n', "", TAKING,
    ),
    Mutant(
        0, "a backchannel is an interruption", "nodes/turns/overlap.py",
        " or self.is_backchannel(words)", "", TAKING,
    ),
    Mutant(
        0, "a word that may be anything stops the answer", "nodes/turns/overlap.py",
        "len(words) >= self.min_words or any", "bool(words) or any", TAKING,
    ),
    Mutant(
        0, "what was let go is lost though more came", BARGE_IN,
        'if verdict == "nothing":', 'if verdict in ("nothing", "doubtful"):', TAKING,
    ),
    Mutant(
        0, "what was let go long ago is part of an interruption", BARGE_IN,
        "if self._let_go is not None and behind > LONGEST_PAUSE_MS * MS:", "if False:", TAKING,
    ),
    Mutant(
        0, "a noise is part of what was let go long ago", BARGE_IN,
        "        if behind > LONGEST_PAUSE_MS * MS:  # in", "        if False:  # in", TAKING,
    ),
    Mutant(
        0, "what was let go is part of the next question", BARGE_IN,
        "        elif self._let_go is not None:\n", "        elif False:\n", TAKING,
    ),
    Mutant(
        0, "a word that comes late changes nothing", BARGE_IN,
        'return self._interruption(overlap) if words and verdict == "interruption" else None', "return None", TAKING,
    ),
    Mutant(
        0, "who was cut off needs three words", DIALOGUE,
        "early = frame.at - answer.audible_at < REGRET_NS", "early = False", TAKING,
    ),
    Mutant(
        0, "a noise that goes on ducks the answer for good", "nodes/turns/overlap.py",
        "(not clear or self._unlike > UNLIKE_WINDOWS)", "not clear", TAKING,
    ),
    Mutant(
        0, "the score of a silence that is over counts", DIALOGUE,
        "if self._speaking or score.at - score.silence_ms * MS < self._last_voiced_at - COVERS_NS:",
        "if self._speaking:", TAKING,
    ),
    Mutant(
        0, "a late transcript asks again what was answered", DIALOGUE,
        "if transcript.final and self._corrects(transcript):", "if False:", TAKING,
    ),
    Mutant(
        0, "a turn ends on words as if none were missing", "nodes/turns/ending.py",
        "        if not evidence.settled:\n            return max(unclear, self.unclear_ms)", "        if False:\n            return 0.0",
        TAKING,
    ),
)  # fmt: skip
