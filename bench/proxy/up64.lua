wrk.method = "POST"
wrk.body = string.rep("x", 67108864)
