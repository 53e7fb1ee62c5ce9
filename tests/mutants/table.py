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

THINKS = ("tests/test_scenarios.py::test_so_they_do_where_it_thinks_for_minutes_and_says_so",)
MISTAKES = ("tests/test_mistakes.py",)
GRAPHS = ("tests/test_graph.py", "tests/test_broken_graphs.py", RULES)
TRACES = ("tests/test_trace.py", "tests/test_session.py", RULES)
WIRES = ("tests/test_http.py", "tests/test_services.py")
DIALOGUE, BARGE_IN = "nodes/dialogue.py", "nodes/turns/barge_in.py"
TAKING = ("tests/nodes/test_dialogue.py", "tests/nodes/turns")
EARS = ("tests/nodes/sound/test_playback.py", "tests/nodes/test_speaker.py", RULES)
GAIN, HARDWARE = "nodes/gain.py", "nodes/sound/hardware.py"
EVERY, LAYOUT, GOING_ON = ("tests/test_every_node.py",), ("tests/test_layout.py",), ("tests/test_going_on.py",)
KILLED = ("tests/test_failures.py::test_each_server_of_ours_may_be_killed_once_and_the_conversation_goes_on",)
IDLE = (
    "tests/test_failures.py::test_a_server_that_is_killed_while_nobody_uses_it_is_started_again_where_its_node_would_be",
)
LATE_WORD = (
    "tests/test_turn_taking.py::test_a_word_just_before_the_answer_is_not_lost_though_something_sounds_before_its_transcript",
)
STREAMS = ("tests/nodes/sound/test_hardware.py",)
ONSET = ("tests/test_scenarios.py::test_at_speech_onset_connections_are_made_again_that_their_servers_have_closed",)


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
    Mutant(
        1, "an old fact makes room", CHANNEL,
        "(head := self._queue[0][1]).is_plan and head.turn", "(head := self._queue[0][1]) and head.turn",
    ),
    Mutant(
        1, "a stale fact is dropped by a node that processes several frames at once", WORKER,
        "return frame.is_plan and (frame.turn < self._turn.number or frame.turn <= self._refused)",
        "return frame.turn < self._turn.number or frame.turn <= self._refused",
    ),
    Mutant(
        1, "the facts of an attempt that has failed are refused", WORKER,
        "if is_plan and frame.turn <= self._refused:", "if frame.turn <= self._refused:",
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
    Mutant(
        2, "run() may make a plan of nothing", WORKER,
        "elif current is None or not current.is_plan:", "elif current is not None and not current.is_plan:",
    ),
    Mutant(2, "a commit that is said twice counts twice", TURN, "if number != self.committed:", "if True:"),
    Mutant(
        2, "a node that isn't the owner moves the turn", GAIN,
        "        samples = frame.samples * self.factor\n",
        "        samples = frame.samples * self.factor\n        self.ctx.turn.advance()\n", EVERY,
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
    Mutant(4, "clean-up has longer than 50 ms", WORKER, "CLEAN_UP_NS = 50 * MS", "CLEAN_UP_NS = 60 * MS"),
    Mutant(4, "clean-up has less than 50 ms", WORKER, "CLEAN_UP_NS = 50 * MS", "CLEAN_UP_NS = 40 * MS"),
    Mutant(
        4, "clean-up in a lane is cancelled", LANES,
        "if not lane.cancelled and not lane.task.done():", "if not lane.task.done():",
    ),
    Mutant(
        4, "a lane whose clean-up hangs keeps the others waiting", LANES,
        "            lane.overdue = True\n", "",
    ),
    Mutant(
        4, "a node with lanes isn't flushed", LANES,
        "                    before()\n", "", (*ENGINE, RULES),
    ),
    Mutant(
        4, "a plain generator goes on with a stale plan", WORKER,
        "                            if is_plan and frame.turn < turn.number:\n"
        "                                _close(outputs)\n                                break\n", "",
    ),
    Mutant(
        0, "a list that a process returns has to be a generator", WORKER,
        "    if close is not None:\n        close()\n", "    close()\n", MISTAKES,
    ),
    Mutant(
        0, "what a node doesn't say that it yields is lost", WORKER,
        "if not issubclass(kind, outputs):", "if False:", MISTAKES,
    ),
    Mutant(
        0, "who calls sys.exit in a node ends the program", WORKER,
        "            except (Exception, SystemExit) as error:\n                self._failed(error, frame)\n",
        "            except Exception as error:\n                self._failed(error, frame)\n", MISTAKES,
    ),
    Mutant(
        0, "a turn that is given up is told at the end", "flowgraph/report.py",
        "self._given_up(first, later) or ", "", ("tests/test_report.py",),
    ),
    Mutant(
        4, "a generator in a thread is closed in the loop's", WORKER,
        "                await in_thread(close)", "                close()",
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
    Mutant(
        5, "a held head stands in the way of the other inputs", CHANNEL,
        "            order = channel.head()\n",
        "            order = channel.head()\n            if not order and len(channel):\n                return None\n",
    ),
    Mutant(
        5, "facts are held too", CHANNEL,
        "            if not frame.is_plan:\n                return order\n",
        "            if not frame.is_plan and not self._hold:\n                return order\n",
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
    Mutant(
        6, "a prompt is of the time at which it is made", DIALOGUE,
        "max_tokens=self.max_answer, at=self._last_voiced_at", "max_tokens=self.max_answer", ("tests/nodes/test_dialogue.py",),
    ),
    Mutant(
        6, "what was heard doesn't name the speech", "nodes/sound/reply.py",
        'stamps = {"cause": cause} if cause is not None else {}', "stamps = {}", ("tests/nodes/test_speaker.py",),
    ),
    Mutant(
        6, "a transcript doesn't name the silence that asked for it", "nodes/ws_stt.py",
        "            cause=cause,\n", "", ("tests/nodes/test_ws_stt.py",),
    ),
    Mutant(
        6, "a fact from run() is of no attempt", WORKER,
        "        elif current is None:\n            output.turn = self._turn.number  # type: ignore[misc]\n", "",
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
    Mutant(
        7, "what has no length fills no edge that is bounded in time", CHANNEL,
        "return too_long or len(self._queue) >= MOST_FRAMES", "return too_long",
    ),
    Mutant(
        7, "drop_oldest drops one frame, however long the new one is", CHANNEL,
        "            while self._queue and self._full(frame):\n                self._discard(DROP)",
        "            if self._queue and self._full(frame):\n                self._discard(DROP)",
    ),
    Mutant(
        7, "a loss is told again and again", CHANNEL,
        "            self._lost = 0\n        return frame", "        return frame",
    ),
    Mutant(
        7, "a feedback edge counts for the order", CHECKS,
        "graph = _digraph(draft.nodes, (edge for edge in draft.edges if not edge.feedback))\n    index",
        "graph = _digraph(draft.nodes, draft.edges)\n    index", GRAPHS,
    ),
    Mutant(
        7, "what was heard may shrink", "nodes/sound/reply.py",
        "if len(text) > len(self._text):", "if True:", ("tests/nodes/sound/test_reply.py",),
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
    Mutant(
        8, "a parallel output carries the cause of another frame", LANES,
        "await self._emit(lane.take(), lane.frame)", "await self._emit(lane.take(), self._lanes[-1].frame)",
    ),
    Mutant(
        8, "a lane runs ahead without a bound", LANES,
        "while len(self.outputs) >= LANE_FRAMES:", "while False:",
    ),
    Mutant(
        8, "a stop abandons a step in a thread", WORKER,
        "self._threads.shutdown(wait=True)", "self._threads.shutdown(wait=False)",
    ),
    Mutant(
        8, "a blocking node runs in the loop", WORKER,
        "            step = loop.run_in_executor(self._threads, call)\n",
        "            step = loop.create_future()\n            step.set_result(call())\n",
    ),
    Mutant(
        8, "what is put while the loop lies down to wait is missed", HANDOFF,
        "            if self._head != self._tail:\n                break", "            if False:\n                break", (DOOR,),
    ),
    Mutant(
        8, "a sound is of the time at which the loop sees it", "nodes/mic.py",
        "handoff.put((at, samples.copy(), missing))", "handoff.put((self.ctx.clock.now(), samples.copy(), missing))",
        ("tests/nodes/test_mic.py",),
    ),
    # -- 9: what a node says, it yields ------------------------------------------------------------------------------------
    Mutant(
        9, "a session offers its nodes a way to send", "flowgraph/context.py",
        "        self._shared = shared\n", "        self._shared = shared\n        self.send = say\n", EVERY,
    ),
    Mutant(
        9, "a node calls what it inherits", GAIN,
        '    factor: float = Field(1.0, ge=0, description="1.0 leaves the level unchanged; what gets too loud is clipped.")\n',
        '    factor: float = Field(1.0, ge=0, description="1.0 leaves the level unchanged; what gets too loud is clipped.")\n\n'
        "    async def open(self) -> None:\n        await super().open()\n", EVERY,
    ),
    Mutant(
        9, "a node registers", GAIN,
        "class Gain(Node):", "@(lambda cls: cls)\nclass Gain(Node):", EVERY,
    ),
    Mutant(
        9, "what process returns when it has awaited isn't said", WORKER,
        "            for output in outputs or ():\n                await self._emit(output, frame)\n            return", "            return",
    ),
    Mutant(
        9, "what process returns in a lane isn't said", LANES,
        "            for output in () if outputs is None else outputs:\n                await self._add(output)", "            pass",
    ),
    Mutant(
        9, "a node has a clock of its own", GAIN,
        "from collections.abc import Iterator\n", "import time\nfrom collections.abc import Iterator\n", LAYOUT,
    ),
    # -- 10: every prompt ends ---------------------------------------------------------------------------------------------
    Mutant(
        10, "no End where a node fails", WORKER,
        "                self._end_attempt(frame, failure.cause)\n",
        "                pass\n",
    ),
    Mutant(
        10, "the rest of an attempt goes on behind its failure", WORKER,
        "            self._refused = max(self._refused, attempt)\n",
        "",
    ),
    Mutant(
        10, "a prompt that comes to no end isn't reported", SESSION,
        "            if due and now - max(self",
        "            if False and now - max(self",
    ),
    Mutant(
        10, "nobody says that nothing is heard of a player that failed", WORKER,
        'for last in (End(reason="error", detail=why), Heard(final=True, reason="error", detail=why)):',
        'for last in (End(reason="error", detail=why),):',
    ),
    Mutant(
        10, "an answer that was cut by its bound is said to be done", "nodes/llm_stream.py",
        "yield End(reply.reason)", "yield End()", ("tests/nodes/test_llm_stream.py",),
    ),
    Mutant(10, "stuck is told late", SESSION, "STUCK_NS = 60 * SECOND", "STUCK_NS = 600 * SECOND", ("tests/test_session.py",)),
    Mutant(
        10, "an answer counts as stuck before its own time limit", SESSION,
        "max(STUCK_NS, patience_ns + PATIENT_NS)", "STUCK_NS",
        ("tests/test_scenarios.py::test_so_they_do_where_the_model_takes_as_long_as_it_may",),
    ),
    Mutant(
        10, "what a service sends is no sign of life", SESSION,
        "now - max(self._moved_at, heard_at) > self._stuck_ns", "now - self._moved_at > self._stuck_ns", THINKS,
    ),
    Mutant(
        13, "sound is forgotten while the model thinks", SESSION,
        "max(self._stuck_ns, lasts + self._stuck_ns // 4)", "self._stuck_ns", THINKS,
    ),
    Mutant(
        11, "who calls sys.exit while closing keeps the others open", SESSION,
        "contained(node.close())", "node.close()", MISTAKES,
    ),
    Mutant(10, "stuck is told early", SESSION, "STUCK_NS = 60 * SECOND", "STUCK_NS = 6 * SECOND", ("tests/test_session.py",)),
    Mutant(10, "an attempt that moves is stuck", TRACE, "            self._moved_at = at\n", "", ("tests/test_session.py",)),
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
    Mutant(11, "restarts of long ago count", WORKER, "RESTART_WINDOW_NS = 30 * SECOND", "RESTART_WINDOW_NS = 300 * SECOND"),
    Mutant(
        11, "a restart doesn't close the old node", WORKER,
        "        await self._close_node()\n        while True:", "        while True:",
    ),
    Mutant(
        11, "a restart that can't open is the last", WORKER,
        "                if len(self._restarts) >= MOST_RESTARTS:\n                    raise self._failure",
        "                if True:\n                    raise self._failure",
    ),
    Mutant(
        11, "a restart brings no server back", WORKER,
        "                if self._revive is not None:\n                    await self._revive()\n", "",
        KILLED,
    ),
    Mutant(
        11, "a failure doesn't say where the node is written", WORKER,
        "return NodeFailed(self.name, message, place=self._place,", "return NodeFailed(self.name, message, place='',",
    ),
    Mutant(
        11, "the owner isn't told which attempt failed", WORKER,
        "told = Failure(self.name, failure.message, attempt)", "told = Failure(self.name, failure.message, 0)",
    ),
    Mutant(11, "a stop drains for longer than two seconds", SESSION, "drain_s: float = 2.0", "drain_s: float = 30.0"),
    Mutant(11, "a stop drains for less than two seconds", SESSION, "drain_s: float = 2.0", "drain_s: float = 1.5"),
    Mutant(
        11, "a second Ctrl-C waits like the first", "flowgraph/cli/running.py",
        "        elif len(self._interrupts) <= 2:\n", "        elif False:\n", ("tests/test_cli.py",),
    ),
    Mutant(
        11, "a close that hangs keeps the others open", SESSION,
        "await asyncio.wait_for(contained(node.close()), timeout=CLOSE_S)", "await node.close()",
    ),
    Mutant(
        11, "of several nodes that can't open only one is told", SESSION,
        "                self._tell(str(failure))\n            raise failures[0]", "                pass\n            raise failures[0]",
    ),
    Mutant(
        11, "what open had not reached breaks close", "nodes/mic.py",
        "    async def open(self) -> None:\n        self._line: Line | None = None\n", "    async def open(self) -> None:\n", EVERY,
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
    Mutant(
        12, "a device's time is taken for the session's", HARDWARE,
        "return round(device_time * SECOND) + self._offset if", "return round(device_time * SECOND) if", STREAMS,
    ),
    Mutant(
        12, "a time stamp of zero is a time", HARDWARE,
        "self._at(time.inputBufferAdcTime) or current - self._in_latency", "self._at(time.inputBufferAdcTime)", STREAMS,
    ),
    Mutant(
        12, "what is heard with a time stamp of zero has no latency", HARDWARE,
        "self._at(time.outputBufferDacTime) or current + self._out_latency", "self._at(time.outputBufferDacTime) or current", STREAMS,
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
    Mutant(13, "details of too few turns are kept", TRACE, "KEPT_ATTEMPTS = 60", "KEPT_ATTEMPTS = 19", (RULES,)),
    Mutant(13, "commits are kept for ever", TRACE, "            self.commits.pop(kept.attempt, None)\n", "", (RULES,)),
    Mutant(13, "sound is forgotten too soon", TRACE, "KEPT_BEHIND_NS = 30 * SECOND", "KEPT_BEHIND_NS = 0", GOING_ON),
    Mutant(13, "sound is kept for ever", TRACE, "        self._forget_before(horizon, self._bulk)\n", "", GOING_ON),
    Mutant(
        13, "the facts of an attempt that lasts are kept for ever", TRACE,
        "            self._forget_before(horizon, self._attempts[-1].passing)\n", "            pass\n", GOING_ON,
    ),
    Mutant(
        13, "the plans of an attempt that lasts are forgotten", TRACE,
        "planned and self._owner else", "False else", GOING_ON,
    ),
    Mutant(
        13, "a speaker keeps all that it has played of an answer", "nodes/sound/reply.py",
        "            del self._frames[:index], self._begins[:index]\n        return self._frames[0] if",
        "            pass\n        return self._frames[index] if", ("tests/nodes/sound/test_reply.py",),
    ),
    Mutant(
        13, "a step may end before it begins", TRACE,
        "            if step.end < step.start:\n", "            if False:\n", TRACES,
    ),
    Mutant(
        13, "what had to wait isn't written down", CHANNEL,
        "        self._tap((self._now(), FULL, self.index, frame.id))\n", "", ("tests/test_channel.py",),
    ),
    Mutant(
        13, "what is refused isn't written down", CHANNEL,
        "            self._tap((self._now(), STALE, self.index, frame.id))\n            return True", "            return True",
        ("tests/test_channel.py",),
    ),
    Mutant(
        13, "what is dropped isn't written down", CHANNEL,
        "        self._tap((self._now(), kind, self.index, frame.id))\n", "", ("tests/test_channel.py",),
    ),
    Mutant(
        13, "what is held isn't written down", CHANNEL,
        "            self._tap((self._now(), HELD, self.index, frame.id))\n        else:", "            pass\n        else:", TRACES,
    ),
    Mutant(
        13, "an End of the engine's isn't written down", CHANNEL,
        "        self._tap((self._now(), PUT, self.index, frame.id))\n        self._inbox.wake()\n\n    async", "        self._inbox.wake()\n\n    async",
        ("tests/test_worker.py",),
    ),
    Mutant(
        13, "an advance isn't written down", TURN,
        "        self._tap((self._now(), ADVANCE, self.number, self.by()))\n", "", TRACES,
    ),
    Mutant(
        13, "a gain isn't written down", TURN,
        "            self._tap((self._now(), GAIN, gain, self.by()))\n", "            pass\n",
        ("tests/test_turn.py", "tests/nodes/test_dialogue.py"),
    ),
    Mutant(
        13, "sound isn't counted by the second", TRACE,
        "                    self._seconds[(at - self._started) // SECOND, edge, kind] += 1\n", "", TRACES,
    ),
    Mutant(
        13, "that a connection was reused isn't told", HTTP,
        '        trace.on_connection_reuseconn.append(tell("reused"))\n', "", WIRES,
    ),
    Mutant(
        13, "that a request was sent isn't told", HTTP,
        '            self._tell("request_sent", flight, flight.sent_at)', "            pass", WIRES,
    ),
    Mutant(
        13, "the connections of requests that are made at once are one", TRACE,
        "request, made_for in self.wires:\n", "request, made_for in self.wires:\n            request = 0\n", TRACES,
    ),
    Mutant(
        13, "connections that are made at once count twice", TRACE,
        "if joined and first <= joined[-1][1]:", "if False:", TRACES,
    ),
    Mutant(
        13, "what another frame's request waits for counts too", TRACE,
        " or made_for not in (frame_id, 0):", ":", TRACES,
    ),
    Mutant(
        13, "a connection that never came about isn't missed", TRACE,
        'elif event in ("request_sent", "response_start") and request in begun and start < at <= end:', "elif False:", TRACES,
    ),
    Mutant(
        13, "nobody knows for which frame a connection was made", SESSION,
        "self.trace.tap((at, WIRE, service, event, request, frame))",
        "self.trace.tap((at, WIRE, service, event, request, 0))",
        ("tests/test_scenarios.py::test_the_parts_add_up_where_connections_are_made_at_once",),
    ),
    Mutant(
        13, "the requests of one service share a number", HTTP,
        "number=next(self._numbers)", "number=1", WIRES,
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
        '            self._tell("closed", flight)\n            self.rewarm()\n',
        '            self._tell("closed", flight)\n',
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
    Mutant(
        14, "connections are kept for less than 90 s", HTTP,
        "KEEP_ALIVE_S = 90.0", "KEEP_ALIVE_S = 60.0", ("tests/test_http.py",),
    ),
    Mutant(
        14, "connections are kept as long as aiohttp likes", HTTP,
        "TcpConnector(keepalive_timeout=KEEP_ALIVE_S, limit=0", "TcpConnector(limit=0", ("tests/test_http.py",),
    ),
    Mutant(14, "the dialogue doesn't tell of a speech onset", DIALOGUE, "        self.ctx.warm()\n", "", ONSET),
    Mutant(
        14, "a session doesn't lead a speech onset on", SESSION,
        "warm=self._services.rewarm if self._services is not None else lambda: None,", "warm=lambda: None,", ONSET,
    ),
    Mutant(
        14, "at a speech onset no connection is made", "flowgraph/services.py",
        "            client.rewarm()\n", "            pass\n", ONSET,
    ),
    Mutant(
        14, "no spare connection is made before the answer begins", HTTP,
        "            self.rewarm()  # an attempt that is withdrawn", "            pass  # an attempt that is withdrawn", WIRES,
    ),
    Mutant(
        14, "a session waits for servers that nobody needs yet", "flowgraph/services.py",
        "            self._watch(child)\n\n    async def started",
        "            self._watch(child)\n        await self.started()\n\n    async def started",
        ("tests/test_services.py",),
    ),
    Mutant(
        14, "a request doesn't wait for a server that is still starting", HTTP,
        "            url = await coming()\n", '            url = "http://127.0.0.1:9"\n', ("tests/test_services.py",),
    ),
    Mutant(
        11, "a request doesn't wait for a server that is started again", "flowgraph/services.py",
        "            self.http(name).moves(lambda: self._address(child))\n",
        "            self.http(name).move(await self._address(child))\n", ("tests/test_services.py",),
    ),
    Mutant(
        11, "a server that dies while nobody uses it stays dead", SESSION,
        "            await self._services.revive(service)\n        except", "            return\n        except", IDLE,
    ),
    Mutant(
        11, "a server that dies while nobody uses it is started again for ever", SESSION,
        "len(times) == MOST_RESTARTS and", "False and", IDLE,
    ),
    Mutant(
        14, "a server that can't start ends nothing", SESSION,
        "        except ServiceError as error:\n            self._end_with(error)\n",
        "        except ServiceError:\n", ("tests/test_services.py",),
    ),
    Mutant(
        14, "at the start nothing is warmed", SESSION,
        "            self._spawn(self._warm(self._services))", "            pass", EVERY,
    ),
    Mutant(
        14, "what is wrong while warming isn't told", SESSION,
        "            self._tell(str(unreachable))\n", "            pass\n", EVERY,
    ),
    Mutant(
        14, "servers are started behind what is slow to import", "flowgraph/services.py",
        "        self._children |= spawn_early(missing)\n        if self._specs:\n",
        "        import aiohttp\n\n        self._children |= spawn_early(missing)\n        if self._specs:\n", LAYOUT,
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
    Mutant(
        3, "the device's callback allocates the sound that it plays", PLAYBACK,
        "piece[:first] = self._ring[begin : begin + first]\n",
        "piece[:first] = self._ring[begin : begin + first].copy()\n",
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
        "if before is not None and behind > LONGEST_PAUSE_MS * MS:", "if False:", TAKING,
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
        0, "what sounds before a late word comes makes it nobody's", BARGE_IN,
        "if before is not None and not self._said.covers", "if False and not self._said.covers", LATE_WORD,
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
