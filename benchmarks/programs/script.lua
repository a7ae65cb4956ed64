-- Work for an interpreter, as often as the argument says; answers a number that depends on all of it.
local function queens(n)
  local columns, up, down, found = {}, {}, {}, 0
  local function place(row)
    if row > n then
      found = found + 1
      return
    end
    for column = 1, n do
      if not (columns[column] or up[row + column] or down[row - column]) then
        columns[column], up[row + column], down[row - column] = true, true, true
        place(row + 1)
        columns[column], up[row + column], down[row - column] = nil, nil, nil
      end
    end
  end
  place(1)
  return found
end

local function words(n)
  local counts, order = {}, {}
  local text = string.rep("the quick brown fox jumps over the lazy dog and the other dog ", n)
  for word in text:gmatch("%a+") do
    if not counts[word] then
      counts[word] = 0
      order[#order + 1] = word
    end
    counts[word] = counts[word] + 1
  end
  table.sort(order, function(a, b) return counts[a] > counts[b] or counts[a] == counts[b] and a < b end)
  local sum = 0
  for place, word in ipairs(order) do sum = sum + place * counts[word] * #word end
  return sum
end

local Point = {}
Point.__index = Point
Point.__add = function(a, b) return setmetatable({ x = a.x + b.x, y = a.y + b.y }, Point) end
local function objects(n)
  local at = setmetatable({ x = 0.0, y = 0.0 }, Point)
  local step = setmetatable({ x = 0.5, y = 0.25 }, Point)
  for _ = 1, n do at = at + step end
  return math.floor(at.x * 4 + at.y)
end

local function sorted(n, seed)
  local values = {}
  for i = 1, n do
    seed = (seed * 1103515245 + 12345) % 2147483648
    values[i] = seed
  end
  table.sort(values)
  local check = 0
  for i = 1, n, 7 do check = (check * 31 + values[i]) % 1000000007 end
  return check
end

local check = 0
for round = 1, ... do
  for _, value in ipairs { queens(7), words(300), objects(20000), sorted(5000, round) } do
    check = (check * 33 + value) % 1000000007
  end
end
return check
