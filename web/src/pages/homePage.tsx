import {useEffect, useState} from 'react'
import {SignIn} from '../account/signIn.tsx'
import {ask} from '../api.ts'
import type {Member, User} from '../contract.ts'
import {liveStatus, onConnected, onLive} from '../live/live.ts'
import {FOLLOWED, myRooms} from '../live/rooms.ts'
import {loadPosts, postFeed} from '../posts/feed.ts'
import {postPath} from '../posts/postCard.tsx'
import {RoomLine, RoomLineSkeleton} from '../rooms/roomList.tsx'
import {Link} from '../router.tsx'
import {expectsSession, session} from '../session.ts'
import {useStore} from '../store.ts'
import {Avatar, FailureNote, Icon, Name, PageTitle, places, When} from '../ui/parts.tsx'

const NEWEST = 5
const ROOMS = 4
const PEOPLE = 24

export const HomePage = () => {
  const now = useStore(session)
  const [resets] = useState(() => new URLSearchParams(window.location.search).has('reset'))
  useEffect(() => {
    void loadPosts()
  }, [])
  if (resets) {
    return (
      <div className="page page-narrow">
        <PageTitle title="New password" className="visually-hidden">
          New password
        </PageTitle>
        <SignIn />
      </div>
    )
  }
  if (now.status === 'in') return <Inside user={now.user} />
  if (now.status === 'unknown' && expectsSession()) return <InsideSkeleton />
  return (
    <div className="page home">
      <div className="home-lead">
        <div className="home-words">
          <PageTitle title="Community">A quiet place to write, and to talk.</PageTitle>
          <p className="lead">
            Posts that stay where you can find them. Rooms for the people you choose. Nothing between you and them: no
            feed that decides for you, no advertising.
          </p>
          <ul className="home-points">
            <li>
              <strong>Posts</strong> are open for everybody to read.
            </li>
            <li>
              <strong>Rooms</strong> are for their members, by invitation or open to all.
            </li>
            <li>
              <strong>Your words stay yours</strong>: take them with you, or erase them.
            </li>
          </ul>
        </div>
        {now.status === 'unknown' ? <div className="card sign-in bone" aria-hidden="true" /> : <SignIn />}
      </div>
      <NewestPosts />
    </div>
  )
}

const NewestPosts = () => {
  const {status, posts, failure} = useStore(postFeed)
  return (
    <section className="home-part" aria-labelledby="newest">
      <div className="part-head">
        <h2 id="newest">Newest posts</h2>
        <Link to="/posts/">All posts</Link>
      </div>
      {status === 'failed' && failure && <FailureNote failure={failure} retry={() => void loadPosts()} />}
      {status === 'ready' && posts.length === 0 && (
        <p className="hint">Nothing is written yet. The first post could be yours.</p>
      )}
      <ul className="newest">
        {status === 'loading' &&
          places(NEWEST).map((at) => (
            <li key={at} aria-hidden="true" className="newest-line">
              <span className="bone bone-title" />
              <span className="bone bone-name" />
            </li>
          ))}
        {posts.slice(0, NEWEST).map((post) => (
          <li key={post.id} className="newest-line">
            <Link to={postPath(post.id)} className="newest-title" dir="auto">
              {post.title}
            </Link>
            <span className="hint">
              <Name>{post.author_name}</Name> · <When time={post.created_at} />
            </span>
          </li>
        ))}
      </ul>
    </section>
  )
}

/** One change from what is being loaded to what is there: parts that come one by one would push each other down. */
const Inside = ({user}: {user: User}) => {
  const posts = useStore(postFeed).status
  const rooms = useStore(myRooms).status
  return posts === 'loading' || rooms === 'loading' ? <InsideSkeleton /> : <Loaded user={user} />
}

const InsideSkeleton = () => (
  <div className="page home" aria-busy="true">
    <span className="visually-hidden">The page is being loaded.</span>
    <div className="home-hello" aria-hidden="true">
      <span className="bone bone-title" />
    </div>
    <div className="home-columns" aria-hidden="true">
      <ul className="newest">
        {places(NEWEST).map((at) => (
          <li key={at} className="newest-line">
            <span className="bone bone-title" />
            <span className="bone bone-name" />
          </li>
        ))}
      </ul>
      <ul className="room-list">
        {places(ROOMS).map((at) => (
          <RoomLineSkeleton key={at} />
        ))}
      </ul>
    </div>
  </div>
)

const Loaded = ({user}: {user: User}) => (
  <div className="page home">
    <div className="home-hello">
      <PageTitle title="Community">
        Hello, <bdi>{user.username}</bdi>
      </PageTitle>
      <Link to="/posts/?write" className="button button-main">
        <Icon name="plus" /> Write a post
      </Link>
    </div>
    <div className="home-columns">
      <NewestPosts />
      <div className="home-side">
        <Rooms />
        <HereNow user={user} />
      </div>
    </div>
  </div>
)

const Rooms = () => {
  const {status, rooms, invitations, failure} = useStore(myRooms)
  return (
    <section className="home-part" aria-labelledby="my-rooms">
      <div className="part-head">
        <h2 id="my-rooms">Your rooms</h2>
        <Link to="/rooms/">All rooms</Link>
      </div>
      {invitations.length > 0 && (
        <p className="note note-plain">
          <Link to="/rooms/">
            {invitations.length === 1 ? 'You have an invitation' : `You have ${invitations.length} invitations`}
          </Link>
        </p>
      )}
      {status === 'failed' && failure && <FailureNote failure={failure} />}
      {status === 'ready' && rooms.length === 0 && (
        <p className="hint">
          You are in no room yet. <Link to="/rooms/">Make one, or join one that is open</Link>.
        </p>
      )}
      <ul className="room-list">
        {rooms.slice(0, ROOMS).map((room) => (
          <RoomLine key={room.id} room={room} />
        ))}
      </ul>
    </section>
  )
}

const membersOf = async (roomId: string): Promise<Member[]> => {
  const path = `/api/rooms/${encodeURIComponent(roomId)}`
  return (await ask<{members: Member[]}>('GET', path).catch(() => null))?.body.members ?? []
}

/** Who of the people in one's rooms is online. */
const HereNow = ({user}: {user: User}) => {
  const {rooms} = useStore(myRooms)
  const [people, setPeople] = useState<Map<string, Member> | null>(null)
  const asked = rooms
    .slice(0, FOLLOWED)
    .map(({id}) => id)
    .sort()
    .join(' ')

  useEffect(() => {
    let turn = 0
    const look = async () => {
      const mine = ++turn
      const found = new Map<string, Member>()
      for (const id of asked.split(' ').filter(Boolean)) {
        for (const member of await membersOf(id)) found.set(member.userId, member)
        if (mine !== turn) return
      }
      setPeople(found)
    }
    const lookIn = async (roomId: string) => {
      const mine = turn
      const found = await membersOf(roomId)
      if (mine === turn)
        setPeople((now) => now && new Map([...now, ...found.map((member) => [member.userId, member] as const)]))
    }
    if (liveStatus.get() !== 'on') void look()
    const stops = [
      onConnected(() => void look()),
      onLive('room', ({kind, roomId}) => void (kind === 'joined' && lookIn(roomId))),
      onLive('presence', ({userId, online}) =>
        setPeople((now) => {
          const member = now?.get(userId)
          return now && member ? new Map(now).set(userId, {...member, online}) : now
        }),
      ),
    ]
    return () => {
      turn++
      for (const stop of stops) stop()
    }
  }, [asked])

  const here = [...(people?.values() ?? [])].filter(({online, userId}) => online && userId !== user.id)
  return (
    <section className="home-part" aria-labelledby="here-now">
      <div className="part-head">
        <h2 id="here-now">Here now</h2>
      </div>
      {people && here.length === 0 && <p className="hint">Nobody else from your rooms is online.</p>}
      {!people && <p className="bone bone-line" aria-hidden="true" />}
      <ul className="here">
        {here.slice(0, PEOPLE).map(({userId, username, isBot}) => (
          <li key={userId}>
            <Avatar id={userId} name={username} size="s" bot={isBot} />
            <Name>{username}</Name>
          </li>
        ))}
        {here.length > PEOPLE && <li className="hint">and {here.length - PEOPLE} more</li>}
      </ul>
    </section>
  )
}
