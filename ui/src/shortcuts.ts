/** Whether single keys do something by themselves; who dictates or uses a switch may turn that off, and it is kept. */
const KEPT = "thalweg-keys"
let on = read()

function read(): boolean {
  try {
    return localStorage.getItem(KEPT) !== "off"
  } catch {
    return true // a page opened from disk may have no place to keep it
  }
}

/** Turns them on or off, but for `?`, which shows the switch. */
export function setShortcuts(wanted: boolean): void {
  on = wanted
  try {
    localStorage.setItem(KEPT, wanted ? "on" : "off")
  } catch {
    // It holds until the page is closed.
  }
}

export function areShortcutsOn(): boolean {
  return on
}
