import {type FormEvent, type KeyboardEvent, useEffect, useId, useRef, useState} from 'react'
import {LIMITS, length, type User} from '../contract.ts'
import type {RoomFeed} from '../live/roomFeed.ts'
import {readStored, writeStored} from '../storage.ts'
import {useStore} from '../store.ts'
import {Icon} from '../ui/parts.tsx'
import {plural} from '../words.ts'

const WARN_AT = LIMITS.message - 200

/** Enter sends where there is a keyboard; on a touch screen it begins a new line, as its keyboard shows. */
const entersSend = (): boolean => window.matchMedia('(hover: hover) and (pointer: fine)').matches

export const Composer = ({feed, roomId, me}: {feed: RoomFeed; roomId: string; me: User}) => {
  const draftKey = `draft:${me.id}:room:${roomId}`
  const [text, setText] = useState(() => readStored<string>(draftKey) ?? '')
  const [full, setFull] = useState(false)
  // Sent before the room was there: it goes as soon as it is.
  const [early, setEarly] = useState(false)
  const {status} = useStore(feed.state)
  const input = useRef<HTMLTextAreaElement>(null)
  const id = useId()
  const left = LIMITS.message - length(text)

  useEffect(() => writeStored(draftKey, text === '' ? null : text), [draftKey, text])

  const send = (event?: FormEvent) => {
    event?.preventDefault()
    if (text.trim() === '' || left < 0) return
    if (status !== 'ready') return setEarly(true)
    setEarly(false)
    if (!feed.send(text)) return setFull(true)
    setFull(false)
    setText('')
    input.current?.focus()
  }
  const sendNow = useRef(send)
  sendNow.current = send
  useEffect(() => {
    if (early && status === 'ready') sendNow.current()
  }, [early, status])
  const key = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing || !entersSend()) return
    event.preventDefault()
    send()
  }
  const warning = full
    ? 'Too many messages are waiting to be sent. Wait until some are through.'
    : left < 0
      ? `${plural(-left, 'character')} too many`
      : length(text) > WARN_AT
        ? `${plural(left, 'character')} left`
        : null
  return (
    <form className="composer" onSubmit={send}>
      <label className="visually-hidden" htmlFor={id}>
        Message
      </label>
      <textarea
        id={id}
        ref={input}
        className="grows"
        rows={1}
        dir="auto"
        placeholder="Write a message"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={key}
        aria-describedby={warning ? `${id}-warning` : undefined}
        aria-invalid={left < 0 || undefined}
        enterKeyHint={entersSend() ? 'send' : 'enter'}
      />
      <button
        type="submit"
        className="send"
        aria-label="Send"
        aria-disabled={text.trim() === '' || left < 0 || status !== 'ready' || undefined}
      >
        <Icon name="send" />
      </button>
      {warning && (
        <p
          className={left < 0 || full ? 'composer-warning is-bad' : 'composer-warning'}
          id={`${id}-warning`}
          role="status"
        >
          {warning}
        </p>
      )}
    </form>
  )
}
