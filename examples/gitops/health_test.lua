-- Cases of health.lua: `lua examples/gitops/health_test.lua`, from the root of the repository.
local chunk = assert(loadfile("examples/gitops/health.lua"))
local function condition(kind, status, reason)
  return {type = kind, status = status, reason = reason or "Converged", message = kind .. " " .. status}
end
local cases = {
  {"Progressing", nil},
  {"Progressing", {observedGeneration = 1, conditions = {condition("Ready", "True")}}},
  {"Healthy", {observedGeneration = 2, conditions = {condition("Ready", "True")}}},
  {"Progressing", {observedGeneration = 2, conditions = {condition("Ready", "False"), condition("Reconciling", "True")}}},
  {"Degraded", {observedGeneration = 2, conditions = {condition("Ready", "False"), condition("Stalled", "True")}}},
  {"Suspended", {observedGeneration = 1, conditions = {condition("Ready", "True"), condition("Paused", "True")}}},
  {"Suspended", {observedGeneration = 2, conditions = {condition("Ready", "False", "Disabled")}}},
}
for number, case in ipairs(cases) do
  obj = {metadata = {generation = 2}, status = case[2]}
  local health = chunk()
  assert(health.status == case[1], "case " .. number .. ": " .. health.status .. ", not " .. case[1])
  assert(type(health.message) == "string")
end
print(#cases .. " cases of health.lua are as they should be")
