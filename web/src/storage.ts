/** What this browser keeps for a person: drafts, and messages on their way. A full or forbidden storage keeps nothing. */
export const readStored = <T>(key: string): T | null => {
  try {
    return JSON.parse(localStorage.getItem(key) ?? 'null') as T | null
  } catch {
    return null
  }
}

export const writeStored = (key: string, value: unknown): void => {
  try {
    if (value === null) localStorage.removeItem(key)
    else localStorage.setItem(key, JSON.stringify(value))
  } catch {}
}

const RETURN_TO = 'return-to'
/** Where somebody was who leaves to sign in at another site. */
export const keepPlace = (path: string): void => {
  try {
    sessionStorage.setItem(RETURN_TO, path)
  } catch {}
}

export const takePlace = (): string | null => {
  try {
    const path = sessionStorage.getItem(RETURN_TO)
    sessionStorage.removeItem(RETURN_TO)
    return path
  } catch {
    return null
  }
}

/** On a shared machine the next person must not find what this one wrote. */
export const forgetStored = (): void => {
  try {
    localStorage.clear()
    sessionStorage.clear()
  } catch {}
}
