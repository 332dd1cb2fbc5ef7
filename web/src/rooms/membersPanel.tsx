import {type FormEvent, useState} from 'react'
import {ask, type Failure, toFailure} from '../api.ts'
import type {Member, User} from '../contract.ts'
import type {RoomFeed} from '../live/roomFeed.ts'
import {useStore} from '../store.ts'
import {Avatar, BotBadge, Button, Field, Name, Note} from '../ui/parts.tsx'
import {plural} from '../words.ts'
import {roomPath} from './roomList.tsx'

const SHOWN = 200

/** Who is in the room, who of them is online, and how others come in. */
export const MembersPanel = ({feed, me, onLeave}: {feed: RoomFeed; me: User; onLeave: () => void}) => {
  const {room, members} = useStore(feed.state)
  if (!room) return null
  const isHere = (member: Member) => member.online || member.userId === me.id
  const here = members.filter(isHere)
  const away = members.filter((member) => !isHere(member)).slice(0, Math.max(0, SHOWN - here.length))
  const rest = room.memberCount - here.length - away.length
  return (
    <div className="members">
      <Invite roomId={room.id} />
      <h2>Online</h2>
      <MemberList members={here.slice(0, SHOWN)} me={me} online />
      {away.length > 0 && <h2>Away</h2>}
      <MemberList members={away} me={me} />
      {rest > 0 && <p className="hint">and {plural(rest, 'other')}</p>}
      <Button look="plain" className="leave" onClick={onLeave}>
        Leave room
      </Button>
    </div>
  )
}

const MemberList = ({members, me, online = false}: {members: Member[]; me: User; online?: boolean}) => (
  <ul className={online ? 'member-list is-online' : 'member-list'}>
    {members.map(({userId, username, isBot}) => (
      <li key={userId}>
        <Avatar id={userId} name={username} size="s" bot={isBot} />
        <Name>{username}</Name>
        {isBot && <BotBadge />}
        {userId === me.id && <span className="hint">you</span>}
      </li>
    ))}
  </ul>
)

const Invite = ({roomId}: {roomId: string}) => {
  const [whom, setWhom] = useState('')
  const [busy, setBusy] = useState(false)
  const [invited, setInvited] = useState<string | null>(null)
  const [failure, setFailure] = useState<Failure | null>(null)
  const invite = async (event: FormEvent) => {
    event.preventDefault()
    const userId = whom.trim()
    if (busy || userId === '') return
    setBusy(true)
    setFailure(null)
    setInvited(null)
    try {
      await ask('POST', `/api${roomPath(roomId)}/invite`, {userId})
      setInvited(userId)
      setWhom('')
    } catch (error) {
      setFailure(toFailure(error))
    }
    setBusy(false)
  }
  return (
    <form className="invite" onSubmit={invite} noValidate>
      <Field
        label="Invite somebody"
        placeholder="Email address or id"
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
        value={whom}
        onChange={(event) => setWhom(event.target.value)}
        error={
          failure?.code === 'INVALID'
            ? 'Enter an email address, or the id of somebody here, on Discord or on Reddit.'
            : failure?.message
        }
      />
      <Button type="submit" busy={busy}>
        Invite
      </Button>
      {invited && (
        <Note tone="good">
          <p>
            <bdi>{invited}</bdi> can join now: the invitation waits under Rooms.
          </p>
        </Note>
      )}
    </form>
  )
}
