"""The server's guard rails: API keys, limits on bodies and requests, day budgets, and a drain before the end.

The parts are plain classes. An ingress hooks them in like this:

    check_bind(http.host, guards)                                  # before the server starts
    keys, admission = KeyRing(guards), Admission(guards)
    budgets = DayBudgets(Ledger(ledger_path(guards, folder), guards.reservation_s), prices)
    app.add_middleware(GuardMiddleware, settings=guards, keys=keys, admission=admission)
    add_error_handlers(app)                                        # of errors.py; or answer_refusal of refusals.py alone

    @app.post("/v1/chat/completions")
    async def chat(
        request: ChatRequest,
        caller: Annotated[Caller, Depends(caller_of)],
        answered: Annotated[AsyncExitStack, Depends(until_answered)],
    ) -> Response:
        bounds = AnswerBounds(prompt_tokens=..., max_new_tokens=..., max_calls=..., choices=request.n)
        allowance = await answered.enter_async_context(budgets.allowed(caller, bounds))
        each = allowance.per_choice(bounds)                        # each.max_teacher_tokens, each.max_cost: of a Budget
        ...                                                        # an answer, or a StreamingResponse
        allowance.note(teacher_tokens, cost)                       # totals of all choices: after each call, and at the end

    @app.post("/admin/student")
    async def student(..., admin: Annotated[Caller, Depends(admin_of)]) -> Response: ...

To stop, call `admission.drain()`, then `await admission.drained(seconds)` and `await budgets.settled()`.
"""
