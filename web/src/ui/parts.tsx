import {type ReactNode, useEffect, useId, useRef, useState} from 'react'
import type {Failure} from '../api.ts'
import {ERASED} from '../contract.ts'
import {hasMoved, Link} from '../router.tsx'
import {createStore} from '../store.ts'
import {ago, fullTime} from '../words.ts'

export const pageTitle = createStore('Community')

/** The page's heading and title. It takes the focus after a page was left for this one, as a page load would. */
export const PageTitle = ({children, title, className}: {children: ReactNode; title: string; className?: string}) => {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    pageTitle.set(title)
    if (hasMoved()) heading.current?.focus({preventScroll: true})
  }, [title])
  return (
    <h1 ref={heading} tabIndex={-1} className={className}>
      {children}
    </h1>
  )
}

const TONES = 8

/** The first letters of a name on a colour that stays with the person. */
export const Avatar = ({
  id,
  name,
  size = 'm',
  bot = false,
}: {
  id: string
  name: string
  size?: 's' | 'm'
  bot?: boolean
}) => {
  let hash = 0
  for (const letter of id) hash = (hash * 31 + letter.codePointAt(0)!) >>> 0
  const [first = '', second = ''] = name.split(/[^\p{L}\p{M}\p{N}\p{Emoji_Presentation}]+/u).filter(Boolean)
  const initials = [...first]
    .slice(0, 1)
    .concat([...second].slice(0, 1))
    .join('')
    .toUpperCase()
  return (
    <span className={`avatar avatar-${size} tone-${hash % TONES} ${bot ? 'is-bot' : ''}`} aria-hidden="true">
      {initials || '?'}
    </span>
  )
}

const MINUTE = 60_000

/** A time as people say it, kept up to date; the exact one on hover. */
export const When = ({time, className}: {time: string; className?: string}) => {
  const [, tick] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => tick((now) => now + 1), MINUTE)
    return () => clearInterval(timer)
  }, [])
  return (
    <time dateTime={time} title={fullTime(time)} className={className}>
      {ago(time)}
    </time>
  )
}

export const Spinner = () => <span className="spinner" aria-hidden="true" />

type ButtonProps = React.ButtonHTMLAttributes<HTMLButtonElement> & {
  look?: 'main' | 'quiet' | 'plain' | 'danger'
  busy?: boolean
}

/** While busy it keeps its size and its focus, and does nothing. */
export const Button = ({look = 'quiet', busy = false, className = '', children, onClick, ...props}: ButtonProps) => (
  <button
    type="button"
    className={`button button-${look} ${busy ? 'is-busy' : ''} ${className}`}
    aria-disabled={busy || undefined}
    onClick={busy ? (event) => event.preventDefault() : onClick}
    {...props}
  >
    <span className="button-label">{children}</span>
    {busy && <Spinner />}
  </button>
)

type FieldProps = React.InputHTMLAttributes<HTMLInputElement> & {label: string; hint?: ReactNode; error?: string | null}

export const Field = ({label, hint, error, ...props}: FieldProps) => {
  const id = useId()
  const described = [hint ? `${id}-hint` : '', error ? `${id}-error` : ''].filter(Boolean).join(' ')
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} aria-invalid={error ? true : undefined} aria-describedby={described || undefined} {...props} />
      {hint && (
        <p className="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {error && (
        <p className="field-error" id={`${id}-error`}>
          {error}
        </p>
      )}
    </div>
  )
}

/** Something to know, in place. A bad one is said at once. */
export const Note = ({tone = 'plain', children}: {tone?: 'plain' | 'good' | 'bad'; children: ReactNode}) => (
  <div className={`note note-${tone}`} role={tone === 'bad' ? 'alert' : 'status'}>
    {children}
  </div>
)

export const FailureNote = ({failure, retry}: {failure: Failure; retry?: () => void}) => (
  <Note tone="bad">
    <p>{failure.message}</p>
    {retry && <Button onClick={retry}>Try again</Button>}
  </Note>
)

export const Empty = ({title, children}: {title: string; children?: ReactNode}) => (
  <div className="empty">
    <h2>{title}</h2>
    {children}
  </div>
)

export const BotBadge = () => <span className="badge-bot">Bot</span>

export const Name = ({children}: {children: string}) => (
  <bdi className={children === ERASED ? 'name erased' : 'name'}>{children}</bdi>
)

/** A modal dialog of the browser's own: it keeps the focus inside, closes on Escape and on Back, and gives the focus back. */
export const Dialog = ({title, onClose, children}: {title: string; onClose: () => void; children: ReactNode}) => {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const shown = dialog.current!
    const before = document.activeElement
    if (!shown.open) shown.showModal()
    const back = () => shown.close()
    window.addEventListener('popstate', back)
    return () => {
      window.removeEventListener('popstate', back)
      shown.close()
      if (before instanceof HTMLElement) before.focus({preventScroll: true})
    }
  }, [])
  // biome-ignore lint/correctness/useExhaustiveDependencies: under another title is something else, and what had the focus is gone
  useEffect(() => {
    const shown = dialog.current!
    const first = shown.querySelector<HTMLElement>('[data-first]')
    if (first) first.focus()
    else if (!shown.contains(document.activeElement)) shown.querySelector('button')!.focus()
  }, [title])
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: a click beside it closes it; the keyboard has Escape and the button
    <dialog
      ref={dialog}
      aria-labelledby={id}
      onClose={onClose}
      onCancel={(event) => {
        // At once, and not some time after the focus went back.
        event.preventDefault()
        onClose()
      }}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      <div className="dialog-inside">
        <div className="dialog-head">
          <h2 id={id}>{title}</h2>
          <button type="button" className="icon-button" aria-label="Close" onClick={onClose}>
            <Icon name="close" />
          </button>
        </div>
        {children}
      </div>
    </dialog>
  )
}

const ICONS = {
  close: 'M6 6l12 12M18 6L6 18',
  back: 'M15 5l-7 7 7 7',
  people:
    'M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM2.500 20a6.5 6.500 0 0113 0M16 4.300a3.500 3.500 0 010 6.400M18 14.200a6.500 6.500 0 013.500 5.800',
  send: 'M4 12l16-8-6 16-3-7z',
  clip: 'M20 11.500l-8.300 8.300a5 5 0 01-7-7l8.800-8.800a3.300 3.300 0 014.700 4.700l-8.800 8.800a1.700 1.700 0 01-2.400-2.400l7.800-7.700',
  down: 'M12 5v14M6 13l6 6 6-6',
  search: 'M10.500 17a6.500 6.500 0 100-13 6.500 6.500 0 000 13zM15.500 15.500L20 20',
  plus: 'M12 5v14M5 12h14',
  lock: 'M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 017 0v3',
  open: 'M12 21a9 9 0 100-18 9 9 0 000 18zM3.500 9h17M3.500 15h17M12 3c-5 5.500-5 12.500 0 18 5-5.500 5-12.500 0-18z',
  file: 'M7 3h7l4 4v14H7zM14 3v4h4',
  link: 'M10 14a4 4 0 005.700 0l3-3A4 4 0 0013 5.300l-1 1M14 10a4 4 0 00-5.700 0l-3 3a4 4 0 005.700 5.700l1-1',
} as const

export const Icon = ({name}: {name: keyof typeof ICONS}) => (
  <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={ICONS[name]} />
  </svg>
)

export const NotFound = ({what}: {what: string}) => (
  <Empty title={`${what} is not here`}>
    <p>It was never written, or the address was cut off on its way to you.</p>
    <Link to="/posts/" className="button button-quiet">
      See all posts
    </Link>
  </Empty>
)

/** As many things as are still being loaded. */
export const places = (count: number): string[] => Array.from({length: count}, (_, at) => `place ${at}`)
