// Every text of the page, in English and Russian. Texts with {name} are filled in by text(). The English texts stand in
// index.html as well, so that the page can be read before its scripts have come.

const en = {
  "page.title": "Matryoshka: a PC in this page",
  "page.tagline": "A PC with a 64-bit processor that lives in this page. Nothing is installed, nothing leaves your browser.",
  "page.skip": "Skip to the terminal",
  "language": "Русский",
  "language.label": "Switch to Russian",

  "terminal.label": "Terminal of the machine",
  "terminal.leave": "Esc, then Tab leaves the terminal. Ctrl+Alt+M: the monitor and back.",
  "terminal.focus": "Click or press Tab to type here.",
  "terminal.prompt": "Terminal input",
  "terminal.too-much": "Too much output to announce; move through the rows to read it.",

  "monitor.label": "Monitor of the machine",
  "monitor.prompt": "Monitor input",

  "button.pause": "Pause",
  "button.resume": "Resume",
  "button.reset": "Reset",
  "button.paste": "Paste",
  "button.monitor": "Monitor",
  "button.smaller": "Smaller text",
  "button.larger": "Larger text",
  "button.reader": "Screen reader mode",
  "button.retry": "Try again",
  "button.default": "Back to the small Linux",

  "keys.label": "Keys for the terminal",
  "keys.escape": "Escape",
  "keys.tab": "Tab",
  "keys.control": "Control, for the next key",
  "keys.left": "Arrow left",
  "keys.down": "Arrow down",
  "keys.up": "Arrow up",
  "keys.right": "Arrow right",

  "state.loading": "Loading",
  "state.ready": "Ready",
  "state.running": "Running",
  "state.paused": "Paused",
  "state.held": "Paused by the monitor",
  "state.halted": "Halted",
  "state.shutdown": "Switched off",
  "state.error": "Stopped by an error",
  "figures": "{mips} million instructions a second · {instructions} million so far",
  "figures.idle": "waiting for you · {instructions} million instructions so far",

  "progress": "{loaded} of {total} MB",
  "progress.label": "Download",

  "own.title": "Your own kernel",
  "own.hint": "A bzImage, a vmlinux or a multiboot image from your disk. It stays in this page.",
  "own.kernel": "Kernel",
  "own.initrd": "Initial RAM disk",
  "own.optional": "may be left out",
  "own.cmdline": "Command line",
  "own.memory": "Memory",
  "own.boot": "Boot it",
  "own.none": "Choose a kernel first.",

  "foot.source": "The small Linux is built from Debian's sources; versions.json names every package.",
  "foot.lasting": "What you do inside lasts until you close or reload this page.",

  "notice.shutdown": "The machine is switched off. Reset starts it again.",
  "notice.reset": "The guest restarted itself. Reset starts it again.",
  "notice.quit": "The monitor ended the machine. Reset starts it again.",
  "notice.held": "The monitor holds the machine, so nothing typed here arrives yet. Resume lets it run on; Monitor shows where it stands.",
  "notice.debug-exit": "The guest ended the run with status {exitCode}. Reset starts it again.",
  "notice.halted": "The guest has halted with interrupts off, so nothing can wake it. Reset starts it again.",
  "notice.triple-fault": "The guest ended in a triple fault: an exception came while the processor could not even report the one before. Reset starts it again.",
  "notice.processor": "The processor at that moment",
  "notice.paste": "This browser does not let the button read the clipboard; click into the terminal and press Ctrl+V or Ctrl+Shift+V.",
  "notice.link": "The guest wants to open {url}\n\nOpen it in a new tab?",

  "error.title": "The machine cannot run",
  "error.E_NO_WASM": "This browser cannot run WebAssembly; use a current Firefox, Chrome, Edge or Safari.",
  "error.E_CSP_WASM": "This site's Content-Security-Policy forbids WebAssembly; its script-src needs 'wasm-unsafe-eval'.",
  "error.E_DOWNLOAD": "{message}",
  "error.E_DAMAGED": "{message}",
  "error.E_MEMORY": "The browser did not give the {megabytes} MB of memory that this machine needs; choose a machine with less memory or close other tabs.",
  "error.E_OPTIONS": "{message}",
  "error.E_REFUSED": "{message}",
  "error.E_CORE": "{message}",
  "error.E_ENDED": "{message}",
  "error.E_MANIFEST": "The list of files, machine.json, did not arrive; look at the connection and try again.",
};

const ru = {
  "page.title": "Матрёшка: компьютер на странице",
  "page.tagline": "Компьютер с 64-разрядным процессором прямо на этой странице. Ничего не устанавливается, ничто не уходит из браузера.",
  "page.skip": "К терминалу",
  "language": "English",
  "language.label": "Перейти на английский",

  "terminal.label": "Терминал машины",
  "terminal.leave": "Esc, затем Tab — выйти из терминала. Ctrl+Alt+M — монитор и обратно.",
  "terminal.focus": "Щёлкните или нажмите Tab, чтобы печатать.",
  "terminal.prompt": "Ввод терминала",
  "terminal.too-much": "Вывода слишком много для чтения вслух; перемещайтесь по строкам.",

  "monitor.label": "Монитор машины",
  "monitor.prompt": "Ввод монитора",

  "button.pause": "Пауза",
  "button.resume": "Продолжить",
  "button.reset": "Перезапуск",
  "button.paste": "Вставить",
  "button.monitor": "Монитор",
  "button.smaller": "Мельче",
  "button.larger": "Крупнее",
  "button.reader": "Режим экранного диктора",
  "button.retry": "Попробовать снова",
  "button.default": "Вернуться к маленькому Linux",

  "keys.label": "Клавиши для терминала",
  "keys.escape": "Escape",
  "keys.tab": "Tab",
  "keys.control": "Control для следующей клавиши",
  "keys.left": "Стрелка влево",
  "keys.down": "Стрелка вниз",
  "keys.up": "Стрелка вверх",
  "keys.right": "Стрелка вправо",

  "state.loading": "Загрузка",
  "state.ready": "Готова",
  "state.running": "Работает",
  "state.paused": "На паузе",
  "state.held": "На паузе: держит монитор",
  "state.halted": "Остановилась",
  "state.shutdown": "Выключена",
  "state.error": "Остановлена ошибкой",
  "figures": "{mips} млн команд в секунду · всего {instructions} млн",
  "figures.idle": "ждёт вас · всего {instructions} млн команд",

  "progress": "{loaded} из {total} МБ",
  "progress.label": "Загрузка файлов",

  "own.title": "Своё ядро",
  "own.hint": "bzImage, vmlinux или образ multiboot с вашего диска. Он не покидает эту страницу.",
  "own.kernel": "Ядро",
  "own.initrd": "Начальный RAM-диск",
  "own.optional": "можно не указывать",
  "own.cmdline": "Командная строка",
  "own.memory": "Память",
  "own.boot": "Запустить",
  "own.none": "Сначала выберите ядро.",

  "foot.source": "Маленький Linux собран из исходных текстов Debian; versions.json перечисляет все пакеты.",
  "foot.lasting": "Сделанное внутри живёт, пока страница не закрыта и не перезагружена.",

  "notice.shutdown": "Машина выключена. «Перезапуск» включит её снова.",
  "notice.reset": "Гостевая система перезагрузилась. «Перезапуск» включит машину снова.",
  "notice.quit": "Монитор завершил машину. «Перезапуск» включит её снова.",
  "notice.held": "Машину держит монитор, и набранное здесь пока не доходит. «Продолжить» пустит её дальше, «Монитор» покажет, где она стоит.",
  "notice.debug-exit": "Гостевая система закончила работу с кодом {exitCode}. «Перезапуск» включит машину снова.",
  "notice.halted": "Процессор остановлен при запрещённых прерываниях, разбудить его нечему. «Перезапуск» включит машину снова.",
  "notice.triple-fault": "Тройная ошибка: новое исключение возникло, когда процессор не смог сообщить о предыдущем. «Перезапуск» включит машину снова.",
  "notice.processor": "Процессор в этот миг",
  "notice.paste": "Браузер не даёт кнопке читать буфер обмена; щёлкните по терминалу и нажмите Ctrl+V или Ctrl+Shift+V.",
  "notice.link": "Гостевая система хочет открыть {url}\n\nОткрыть в новой вкладке?",

  "error.title": "Машина не может работать",
  "error.E_NO_WASM": "Этот браузер не умеет WebAssembly; возьмите свежий Firefox, Chrome, Edge или Safari.",
  "error.E_CSP_WASM": "Content-Security-Policy этого сайта запрещает WebAssembly; в script-src нужно 'wasm-unsafe-eval'.",
  "error.E_DOWNLOAD": "Файл «{file}» не загрузился; проверьте соединение и попробуйте снова.",
  "error.E_DAMAGED": "Файл «{file}» повреждён или не от этой страницы; перезагрузите страницу.",
  "error.E_MEMORY": "Браузер не дал {megabytes} МБ памяти, нужных машине; выберите меньше памяти или закройте другие вкладки.",
  "error.E_OPTIONS": "Такую машину собрать нельзя. {message}",
  "error.E_REFUSED": "Машина это не принимает. {message}",
  "error.E_CORE": "Сбой самого эмулятора, это наша ошибка; перезапустите машину. {message}",
  "error.E_ENDED": "Этой машины больше нет. {message}",
  "error.E_MANIFEST": "Список файлов machine.json не загрузился; проверьте соединение и попробуйте снова.",
};

const catalogues = { en, ru };
export const languages = Object.keys(catalogues);

let language = "en";

export function setLanguage(name) {
  language = catalogues[name] ? name : "en";
  return language;
}

export function text(key, values = {}) {
  const template = catalogues[language][key] ?? en[key] ?? key;
  return template.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function number(value, digits = 0) {
  return value.toLocaleString(language, { maximumFractionDigits: digits, minimumFractionDigits: digits });
}
