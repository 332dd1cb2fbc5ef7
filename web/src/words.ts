export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString('en')} ${count === 1 ? one : many}`

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const relative = new Intl.RelativeTimeFormat('en', {numeric: 'auto', style: 'short'})
const clockFormat = new Intl.DateTimeFormat(undefined, {hour: '2-digit', minute: '2-digit'})
const dayFormat = new Intl.DateTimeFormat('en', {day: 'numeric', month: 'short'})
const dayYearFormat = new Intl.DateTimeFormat('en', {day: 'numeric', month: 'short', year: 'numeric'})
const longDayFormat = new Intl.DateTimeFormat('en', {weekday: 'long', day: 'numeric', month: 'long'})
const fullFormat = new Intl.DateTimeFormat('en', {dateStyle: 'full', timeStyle: 'short'})

export const clock = (time: string): string => clockFormat.format(new Date(time))
export const fullTime = (time: string): string => fullFormat.format(new Date(time))
export const dayKey = (time: string): string => new Date(time).toDateString()

/** "just now", "5 min. ago", "3 Nov". */
export const ago = (time: string, now = Date.now()): string => {
  const age = now - Date.parse(time)
  if (age < MINUTE) return 'just now'
  if (age < HOUR) return relative.format(-Math.floor(age / MINUTE), 'minute')
  if (age < DAY) return relative.format(-Math.floor(age / HOUR), 'hour')
  if (age < 7 * DAY) return relative.format(-Math.floor(age / DAY), 'day')
  return date(time, now)
}

const date = (time: string, now: number): string => {
  const sameYear = new Date(time).getFullYear() === new Date(now).getFullYear()
  return (sameYear ? dayFormat : dayYearFormat).format(new Date(time))
}

/** For lists: the clock today, else the day. */
export const short = (time: string, now = Date.now()): string =>
  dayKey(time) === new Date(now).toDateString() ? clock(time) : date(time, now)

export const dayName = (time: string, now = Date.now()): string => {
  if (dayKey(time) === new Date(now).toDateString()) return 'Today'
  if (dayKey(time) === new Date(now - DAY).toDateString()) return 'Yesterday'
  const sameYear = new Date(time).getFullYear() === new Date(now).getFullYear()
  return sameYear ? longDayFormat.format(new Date(time)) : dayYearFormat.format(new Date(time))
}

export const size = (bytes: number): string =>
  bytes < 1024 * 1024 ? `${Math.max(1, Math.round(bytes / 1024))} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`
