-- Health of BrokerCluster and ClusterLink for Argo CD, read as kstatus does.
local health = {status = "Progressing", message = "waiting for the operator"}
local status = obj.status
if status == nil or status.observedGeneration == nil then return health end
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do conditions[condition.type] = condition end
local function is(kind) return conditions[kind] ~= nil and conditions[kind].status == "True" end
local ready = conditions.Ready
if ready ~= nil then health.message = ready.message end
-- The newest spec of a paused object was not looked at, and that is what somebody wanted.
if is("Paused") then
  return {status = "Suspended", message = conditions.Paused.message}
end
if status.observedGeneration ~= obj.metadata.generation then return health end
if is("Stalled") then
  health.status = "Degraded"
  health.message = conditions.Stalled.message
elseif is("Ready") then
  health.status = "Healthy"
elseif ready ~= nil and ready.reason == "Disabled" then
  health.status = "Suspended"
end
return health
