/* An interpreter run: Lua, with script.lua beside this program. */
#include "bench.h"
#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"
static uint64_t bench_run(unsigned scale) {
  lua_State *lua = luaL_newstate();
  if (!lua) return 0;
  luaL_openlibs(lua);
  if (luaL_loadfile(lua, "script.lua") == LUA_OK) {
    lua_pushinteger(lua, scale);
    if (lua_pcall(lua, 1, 1, 0) == LUA_OK) return (uint64_t)lua_tointeger(lua, -1);
  }
  fprintf(stderr, "lua: %s\n", lua_tostring(lua, -1));
  return 0;
}
BENCH_MAIN("lua")
