import {memo, type ReactNode, useEffect, useLayoutEffect, useRef, useState} from 'react'
import type {Message, User} from '../contract.ts'
import {atEnd, atStart, type Feed, type Outgoing, onTheWay, type RoomFeed} from '../live/roomFeed.ts'
import {announce} from '../notices.ts'
import {useStore} from '../store.ts'
import {Avatar, BotBadge, Button, Icon, Name, places, Spinner} from '../ui/parts.tsx'
import {UserText} from '../ui/userText.tsx'
import {clock, dayKey, dayName, fullTime, plural} from '../words.ts'

const GROUP_MS = 5 * 60_000
const NEAR_PX = 48
/** How far before the end of what is loaded the next part is fetched, in heights of the list. */
const AHEAD = 1.5

/** The messages of a room: a window that moves with the reader, and stays where it is under the eyes while it moves. */
export const MessageList = ({feed, at, me}: {feed: RoomFeed; at: number | null; me: User}) => {
  const now = useStore(feed.state)
  const {status, messages, head, newFrom} = now
  const scroller = useRef<HTMLDivElement>(null)
  // What the reader looks at: the end, or one message and how far its lower edge is from the top.
  const pinned = useRef(true)
  const anchor = useRef<{seq: string; bottom: number} | null>(null)
  const shownHead = useRef(-1)
  // What was the newest when the reader left the end.
  const seen = useRef<number | null>(null)
  const entered = useRef(false)
  const goal = useRef(at === null ? '[data-new]' : '.is-found')
  const [below, setBelow] = useState(false)
  const going = onTheWay(now)

  const remember = () => {
    const list = scroller.current!
    const top = list.getBoundingClientRect().top
    for (const item of list.querySelectorAll<HTMLElement>('[data-seq]')) {
      const {bottom} = item.getBoundingClientRect()
      if (bottom - top <= 0) continue
      anchor.current = {seq: item.dataset.seq!, bottom: bottom - top}
      return
    }
    anchor.current = null
  }

  const watch = () => feed.watching(pinned.current && document.visibilityState === 'visible')

  const fetchAround = () => {
    const list = scroller.current!
    if (feed.state.get().status !== 'ready') return
    if (list.scrollTop < list.clientHeight * AHEAD) void feed.older()
    if (list.scrollHeight - list.scrollTop - list.clientHeight < list.clientHeight * AHEAD) void feed.newer()
  }

  const scrolled = () => {
    const list = scroller.current!
    const toEnd = list.scrollHeight - list.scrollTop - list.clientHeight
    pinned.current = toEnd < NEAR_PX && atEnd(feed.state.get())
    if (pinned.current || seen.current === null) seen.current = feed.state.get().head
    setBelow(!pinned.current && toEnd > list.clientHeight / 2)
    remember()
    watch()
    fetchAround()
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: after every change of what is shown, the eyes stay where they are
  useLayoutEffect(() => {
    const list = scroller.current!
    if (status !== 'ready') return
    if (!entered.current) {
      entered.current = true
      const line = list.querySelector<HTMLElement>(goal.current)
      list.scrollTop = line ? line.offsetTop - list.clientHeight / 3 : list.scrollHeight
    } else if (pinned.current) {
      list.scrollTop = list.scrollHeight
    } else if (anchor.current) {
      const item = list.querySelector(`[data-seq="${anchor.current.seq}"]`)
      if (item) {
        const bottom = item.getBoundingClientRect().bottom - list.getBoundingClientRect().top
        list.scrollTop += bottom - anchor.current.bottom
      }
    }
    scrolled()
  }, [status, messages, newFrom, going.length])

  // biome-ignore lint/correctness/useExhaustiveDependencies: once; what it calls reads what is current
  useEffect(() => {
    const list = scroller.current!
    const sized = new ResizeObserver(() => {
      if (pinned.current) list.scrollTop = list.scrollHeight
    })
    sized.observe(list)
    document.addEventListener('visibilitychange', watch)
    return () => {
      sized.disconnect()
      document.removeEventListener('visibilitychange', watch)
    }
  }, [])

  // biome-ignore lint/correctness/useExhaustiveDependencies: what came since the last time is said, once
  useEffect(() => {
    if (status !== 'ready') return
    const before = shownHead.current
    shownHead.current = head
    if (before < 0) return
    const came = messages.filter(({seq, userId}) => seq > before && userId !== me.id)
    if (came.length > 3) announce(plural(came.length, 'new message'))
    else if (came.length > 0) announce(came.map(({username, content}) => `${username}: ${content}`).join('. '))
  }, [head, status])

  const toEnd = async () => {
    pinned.current = true
    if (!atEnd(feed.state.get())) await feed.jump()
    const list = scroller.current!
    list.scrollTop = list.scrollHeight
  }

  const newIsAbove = newFrom !== null && messages.length > 0 && newFrom < messages[0]!.seq
  const toNew = async () => {
    pinned.current = false
    entered.current = false
    goal.current = '[data-new]'
    await feed.jump(newFrom!)
  }

  const unseen = head - (seen.current ?? head)
  return (
    <div className="message-area">
      {newIsAbove && (
        <button type="button" className="float float-top" onClick={() => void toNew()}>
          {plural(head - newFrom + 1, 'new message')} since you were away · Show from there
        </button>
      )}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable for who has only a keyboard */}
      <section className="messages" ref={scroller} onScroll={scrolled} tabIndex={0} aria-label="Messages">
        {status === 'loading' && <MessagesSkeleton />}
        {status === 'ready' && (
          <>
            {atStart(now) ? <Beginning now={now} /> : <LoadingMore />}
            <ol className="message-list">
              {grouped(messages, newFrom, at, me)}
              {going.map((one, at) => (
                <OnTheWay
                  key={one.nonce}
                  one={one}
                  me={me}
                  follows={at > 0 || messages.at(-1)?.userId === me.id}
                  feed={feed}
                />
              ))}
            </ol>
            {!atEnd(now) && <LoadingMore />}
          </>
        )}
      </section>
      {below && status === 'ready' && (
        <button type="button" className="float float-bottom" onClick={() => void toEnd()}>
          <Icon name="down" />
          {unseen > 0 ? plural(unseen, 'new message') : 'To the newest'}
        </button>
      )}
    </div>
  )
}

const grouped = (messages: Message[], newFrom: number | null, at: number | null, me: User): ReactNode[] => {
  const shown: ReactNode[] = []
  let before: Message | null = null
  for (const message of messages) {
    const isNewDay = !before || dayKey(before.createdAt) !== dayKey(message.createdAt)
    if (isNewDay) {
      shown.push(
        <li key={`day ${message.seq}`} className="day" aria-label={dayName(message.createdAt)}>
          <span>{dayName(message.createdAt)}</span>
        </li>,
      )
    }
    const isNew = message.seq === newFrom
    if (isNew) {
      shown.push(
        <li key="new" className="new-line" data-new>
          <span>New since you were away</span>
        </li>,
      )
    }
    const follows: boolean =
      !isNewDay &&
      !isNew &&
      before?.userId === message.userId &&
      before.username === message.username &&
      Date.parse(message.createdAt) - Date.parse(before.createdAt) < GROUP_MS
    shown.push(
      <Line
        key={message.seq}
        message={message}
        follows={follows}
        isMine={message.userId === me.id}
        isFound={message.seq === at}
      />,
    )
    before = message
  }
  return shown
}

type LineProps = {message: Message; follows: boolean; isMine: boolean; isFound: boolean}

const Line = memo(({message, follows, isMine, isFound}: LineProps) => {
  const {seq, userId, username, isBot, content, createdAt} = message
  return (
    <li
      className={`message ${follows ? 'follows' : ''} ${isMine ? 'is-mine' : ''} ${isFound ? 'is-found' : ''}`}
      data-seq={seq}
    >
      {!follows && <Avatar id={userId} name={username} bot={isBot} />}
      {!follows && (
        <p className="message-head">
          <Name>{username}</Name>
          {isBot && <BotBadge />}
          <time dateTime={createdAt} title={fullTime(createdAt)}>
            {clock(createdAt)}
          </time>
        </p>
      )}
      <p className="user-text" dir="auto">
        {follows && <span className="visually-hidden">{username}: </span>}
        <UserText text={content} />
      </p>
      {follows && (
        <time className="message-time" dateTime={createdAt} title={fullTime(createdAt)}>
          {clock(createdAt)}
        </time>
      )}
    </li>
  )
})

const OnTheWay = ({one, me, follows, feed}: {one: Outgoing; me: User; follows: boolean; feed: RoomFeed}) => (
  <li className={`message is-mine is-${one.state} ${follows ? 'follows' : ''}`} data-nonce={one.nonce}>
    {!follows && <Avatar id={me.id} name={me.username} />}
    {!follows && (
      <p className="message-head">
        <Name>{me.username}</Name>
        <time dateTime={one.createdAt}>{clock(one.createdAt)}</time>
      </p>
    )}
    <p className="user-text" dir="auto">
      <UserText text={one.content} />
    </p>
    {one.state === 'pending' && (
      <span className="message-state">
        <Spinner />
        <span className="visually-hidden">Being sent</span>
      </span>
    )}
    {one.state === 'failed' && (
      <div className="message-failed" role="alert">
        <span>Not sent. {one.error}</span>
        <Button onClick={() => feed.retry(one.nonce)}>Try again</Button>
        <Button look="plain" onClick={() => feed.discard(one.nonce)}>
          Discard
        </Button>
      </div>
    )}
  </li>
)

const Beginning = ({now}: {now: Feed}) => (
  <div className="beginning">
    <p className="beginning-title">
      {now.messages.length === 0 ? 'Nothing was said here yet' : <bdi>{now.room?.name}</bdi>}
    </p>
    <p className="hint">
      {now.messages.length === 0 ? 'Say hello. Everybody in the room will see it.' : 'This is where the room begins.'}
    </p>
  </div>
)

/** As high when there is nothing under way, so that nothing moves. */
const LoadingMore = () => (
  <div className="loading-more" aria-hidden="true">
    <span className="avatar avatar-m bone" />
    <span className="bone bone-name" />
    <span className="bone bone-line" />
  </div>
)

const BONES = places(7).map((place, at) => ({place, width: ['wide', 'short', 'middle'][at % 3]}))
const MessagesSkeleton = () => (
  <div className="messages-skeleton" aria-busy="true">
    <span className="visually-hidden">Messages are being loaded.</span>
    {BONES.map(({place, width}) => (
      <div key={place} className="loading-more" aria-hidden="true">
        <span className="avatar avatar-m bone" />
        <span className="bone bone-name" />
        <span className={`bone bone-line bone-${width}`} />
      </div>
    ))}
  </div>
)
