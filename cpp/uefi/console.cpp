// The console. For users: the firmware's, with history and editing. For scripts: the raw first serial line, in a
// machine whose debug port answers (flyball image run), since the firmware's terminal takes ten milliseconds for a
// character.
#include "uefi/parts.h"

namespace flyball::uefi {
namespace {

constexpr u16 serial = 0x3f8, debug_port = 0xe9, exit_port = 0xf4;
constexpr u8 ctrl_c = 3;
constexpr u64 look_every_ns = 50'000'000;

u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

bool scripted = false;

// --- the serial line -----------------------------------------------------------------------------------------------------

bool serial_ready() { return (in8(serial + 5) & 1) != 0; }

// Where there is no line its status reads as ready. One that never is costs a moment a byte.
void serial_put(u8 byte) {
  for (u32 i = 0; (in8(serial + 5) & 0x20) == 0 && i < 1'000'000; ++i) __builtin_ia32_pause();
  out8(serial, byte);
}

constexpr u64 most_line = 64 << 10;
u8 line[most_line];
u64 n_line = 0;

// Bytes that arrived during computing.
u8 early[256];
u64 n_early = 0;

Str read_serial_line() {
  n_line = 0;
  for (u64 taken = 0;;) {
    u8 byte;
    if (taken < n_early) {
      byte = early[taken++];
    } else {
      n_early = taken = 0;
      while (!serial_ready()) __builtin_ia32_pause();
      byte = in8(serial);
    }
    if (byte == '\r' || byte == ctrl_c) continue;
    if (byte == '\n') {
      memmove(early, early + taken, n_early - taken);
      n_early -= taken;
      break;
    }
    if (n_line < most_line) line[n_line++] = byte;
  }
  return {reinterpret_cast<const char*>(line), n_line};
}

// --- the firmware's console ----------------------------------------------------------------------------------------------

void put(const efi::Char* text) { (void)firmware.system->console_out->output(firmware.system->console_out, text); }

// UTF-8 to what the console takes; characters beyond its 16 bits become a question mark.
void put_text(Str text) {
  efi::Char out[130];
  u64 n = 0;
  const auto add = [&](u32 c) {
    if (c == '\n') out[n++] = u'\r';
    out[n++] = c < 0x10000 ? efi::Char(c) : u'?';
    if (n < 120) return;
    out[n] = 0, n = 0;
    put(out);
  };
  for (u64 i = 0; i < text.size;) {
    const u8 first = u8(text[i++]);
    const u32 more = first < 0xc0 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    u32 c = more == 0 ? first : first & (0x3f >> more);
    for (u32 k = 0; k < more && i < text.size; ++k) c = c << 6 | (u8(text[i++]) & 0x3f);
    add(c);
  }
  out[n] = 0;
  put(out);
}

enum Scan : u16 { up = 1, down = 2, right = 3, left = 4, home = 5, end = 6, erase = 8 };

bool read_key(efi::Key* key) {
  efi::TextInput* const input = firmware.system->console_in;
  return !efi::failed(input->read_key(input, key));
}

// Keys typed during computing.
constexpr u64 most_early_keys = 4096;
efi::Key early_keys[most_early_keys];
u64 n_early_keys = 0, n_taken_keys = 0;

void wait_for_key(efi::Key* key) {
  if (n_taken_keys < n_early_keys) {
    *key = early_keys[n_taken_keys++];
    if (n_taken_keys == n_early_keys) n_taken_keys = n_early_keys = 0;
    return;
  }
  while (!read_key(key)) {
    u64 index = 0;
    (void)boot().wait_for_event(1, &firmware.system->console_in->wait_for_key, &index);
  }
}

constexpr u32 most_history = 32;
constexpr u64 most_remembered = 512;
char history[most_history][most_remembered];
u64 history_size[most_history];
u64 n_history = 0;  // lines ever; the newest most_history are there

void remember(Str text) {
  if (text.empty() || text.size > most_remembered) return;
  const u64 slot = n_history++ % most_history;
  memcpy(history[slot], text.data, text.size);
  history_size[slot] = text.size;
}

Str read_edited_line(Str prompt) {
  u64 cursor = 0, back = 0;  // lines back in the history
  n_line = 0;
  const auto shown = [&](u64 from, u64 erased) {
    put_text({reinterpret_cast<const char*>(line) + from, n_line - from});
    for (u64 i = 0; i < erased; ++i) put_text(" ");
    for (u64 i = 0; i < erased + n_line - cursor; ++i) put_text("\b");
  };
  const auto replace = [&](Str text) {
    for (; cursor > 0; --cursor) put_text("\b");
    const u64 before = n_line;
    memcpy(line, text.data, text.size);
    n_line = cursor = text.size;
    shown(0, before > n_line ? before - n_line : 0);
  };
  put_text(prompt);
  for (;;) {
    efi::Key key{};
    wait_for_key(&key);
    if (key.character == u'\r' || key.character == u'\n') break;
    if (key.character == ctrl_c) {
      put_text("^C");
      n_line = 0;
      break;
    }
    if ((key.character == u'\b' && cursor > 0) || (key.scan_code == erase && cursor < n_line)) {
      if (key.character == u'\b') --cursor, put_text("\b");
      memmove(line + cursor, line + cursor + 1, n_line - cursor - 1);
      --n_line;
      shown(cursor, 1);
    } else if (key.scan_code == left && cursor > 0) {
      --cursor, put_text("\b");
    } else if (key.scan_code == right && cursor < n_line) {
      put_text({reinterpret_cast<const char*>(line) + cursor++, 1});
    } else if (key.scan_code == home) {
      for (; cursor > 0; --cursor) put_text("\b");
    } else if (key.scan_code == end) {
      put_text({reinterpret_cast<const char*>(line) + cursor, n_line - cursor});
      cursor = n_line;
    } else if (key.scan_code == up && back < min(n_history, u64(most_history))) {
      const u64 slot = (n_history - ++back) % most_history;
      replace({history[slot], history_size[slot]});
    } else if (key.scan_code == down && back > 0) {
      if (--back == 0) {
        replace("");
      } else {
        const u64 slot = (n_history - back) % most_history;
        replace({history[slot], history_size[slot]});
      }
    } else if (key.character >= u' ' && key.character < 0x7f && n_line < most_remembered) {
      memmove(line + cursor + 1, line + cursor, n_line - cursor);
      line[cursor] = u8(key.character);
      ++n_line, ++cursor;
      shown(cursor - 1, 0);
    }
  }
  put_text("\n");
  const Str text(reinterpret_cast<const char*>(line), n_line);
  remember(text);
  return text;
}

}  // namespace

void start_console() {
  scripted = privileged() && in8(debug_port) == debug_port;
  if (!scripted) return (void)firmware.system->console_out->clear(firmware.system->console_out);
  // Stops the firmware's own terminal, which would take a script's bytes from the line whenever its timer runs.
  u64 n = 0;
  efi::Handle* handles = nullptr;
  if (efi::failed(boot().locate_handle_buffer(efi::by_protocol, &efi::serial_io_guid, nullptr, &n, &handles))) return;
  for (u64 i = 0; i < n; ++i) (void)boot().disconnect_controller(handles[i], nullptr, nullptr);
}

void write(void*, Str text) { scripted ? write_serial(text) : put_text(text); }

void write_serial(Str text) {
  if (!privileged()) return put_text(text);
  for (const char c : text) serial_put(u8(c));
}

Str read_line(Str prompt) {
  if (!scripted) return read_edited_line(prompt);
  write(nullptr, prompt);
  return read_serial_line();
}

bool stop_requested(void*) {
  static u64 next = 0;
  const u64 now = now_ns(nullptr);
  if (now < next) return false;
  next = now + look_every_ns;
  bool stop = false;
  if (scripted) {
    while (serial_ready()) {
      const u8 byte = in8(serial);
      if (byte == ctrl_c)
        stop = true;
      else if (n_early < sizeof early)
        early[n_early++] = byte;
    }
    return stop;
  }
  for (efi::Key key{}; n_early_keys < most_early_keys && read_key(&key);) {
    if (key.character == ctrl_c)
      stop = true;
    else
      early_keys[n_early_keys++] = key;
  }
  return stop;
}

void power_off(bool well) {
  // Sets the exit code of a machine made by `flyball image run`; other machines ignore the port.
  if (scripted) out32(exit_port, well ? 0x10 : 0x11);
  firmware.system->runtime->reset_system(efi::reset_shutdown, well ? efi::success : efi::error_bit, 0, nullptr);
  for (;;) __builtin_ia32_pause();
}

}  // namespace flyball::uefi
