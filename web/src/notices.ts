import {createStore} from './store.ts'

export type Notice = {id: number; tone: 'good' | 'bad' | 'plain'; text: string; to?: string; toText?: string}

/** What happened beside what one is doing; the newest few. */
export const notices = createStore<Notice[]>([])
/** What went well need not be dismissed. */
const GOOD_MS = 10_000
let last = 0

export const notify = (tone: Notice['tone'], text: string, link: {to: string; toText: string} | object = {}): void => {
  const id = ++last
  notices.update((now) => [...now.filter((notice) => notice.text !== text), {id, tone, text, ...link}].slice(-3))
  if (tone === 'good') setTimeout(() => dismiss(id), GOOD_MS)
}

export const dismiss = (id: number): void => notices.update((now) => now.filter((notice) => notice.id !== id))

export const dismissAll = (): void => notices.set([])

/** What a screen reader says without anything taking the focus. */
export const spoken = createStore('')

export const announce = (text: string): void => {
  // The same words twice would not be a change, and so not be said.
  spoken.update((now) => (now === text ? `${text}\u00a0` : text))
}
