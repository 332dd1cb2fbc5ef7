import type {Room} from '../contract.ts'
import {unread} from '../live/rooms.ts'
import {Link} from '../router.tsx'
import {Icon} from '../ui/parts.tsx'
import {short} from '../words.ts'

export const roomPath = (id: string): string => `/rooms/${encodeURIComponent(id)}`

/** A room in a list: its name, its last line, and how much of it is new. */
export const RoomLine = ({room, current = false}: {room: Room; current?: boolean}) => {
  const news = unread(room)
  const {lastMessage} = room
  return (
    <li>
      <Link
        to={roomPath(room.id)}
        className={news > 0 ? 'room-line has-news' : 'room-line'}
        aria-current={current ? 'page' : undefined}
      >
        <span className="room-line-name">
          <bdi>{room.name}</bdi>
          {room.visibility === 'open' && (
            <span className="room-line-kind" title="An open room">
              <Icon name="open" />
              <span className="visually-hidden">(open)</span>
            </span>
          )}
        </span>
        <time className="room-line-time" dateTime={lastMessage?.createdAt ?? room.createdAt}>
          {short(lastMessage?.createdAt ?? room.createdAt)}
        </time>
        <span className="room-line-last">
          {lastMessage ? (
            <>
              <bdi>{lastMessage.username}</bdi>: <span dir="auto">{lastMessage.content}</span>
            </>
          ) : (
            'No messages yet'
          )}
        </span>
        {news > 0 && (
          <span className="count">
            {news > 99 ? '99+' : news}
            <span className="visually-hidden"> new</span>
          </span>
        )}
      </Link>
    </li>
  )
}

export const RoomLineSkeleton = () => (
  <li aria-hidden="true">
    <span className="room-line">
      <span className="bone bone-name" />
      <span />
      <span className="bone bone-line" />
    </span>
  </li>
)
