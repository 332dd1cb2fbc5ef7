/** What a check saw, in one sentence, and what to do about it where something is to be done. */
export type Finding = {verdict: 'ok' | 'warning' | 'problem'; found: string; advice: string | null}
/** What a check found, and what it saw that other checks go on from. */
export type Seen<T> = {findings: Finding[]; seen: T}

export const ok = (found: string): Finding => ({verdict: 'ok', found, advice: null})
export const warning = (found: string, advice: string): Finding => ({verdict: 'warning', found, advice})
export const problem = (found: string, advice: string): Finding => ({verdict: 'problem', found, advice})

/** What an error says, and what those say that it was made of: one address of several answers each in its own way. */
export const reasonOf = (error: unknown): string => {
  const {errors, cause} = error as {errors?: unknown[]; cause?: unknown}
  if (errors && errors.length > 0) return reasonOf(errors[0])
  const own = (error instanceof Error ? error.message : String(error)).replace(/[\s.]+$/, '')
  const deeper = cause === undefined ? own : reasonOf(cause)
  return own === deeper ? own : `${own}: ${deeper}`
}

/** "3 mails", "1 mail". */
export const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`

/** "40 s", "12 min", "3 h", "2 days". */
export const lasting = (ms: number): string => {
  const seconds = Math.round(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  if (seconds < 2 * 3600) return `${Math.round(seconds / 60)} min`
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}
